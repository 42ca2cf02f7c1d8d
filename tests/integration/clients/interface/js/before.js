// The client of ActivityWatch is a module for Node.js; here it finds what it wants.
"use strict";
var exports = {};
var require = () => ({ default: window.axios });
