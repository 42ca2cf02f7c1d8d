// Stands in for ActivityWatch's web interface, whose built files no package has. It
// makes the requests that one makes, through the same client, and shows the answers
// at the same addresses:
//
//   #/timeline                     the events of every bucket, as bars
//   #/activity/HOST/day/DATE/view  one query for all of a day, as lists
//   #/buckets                      the buckets, with how many events each has
"use strict";

const client = new exports.AWClient("aw-webui", { baseURL: window.location.origin });
const app = document.getElementById("app");

function put(parent, tag, text, style = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  Object.assign(made.style, style); // allowed by "style-src 'unsafe-inline'"
  parent.append(made);
  return made;
}

// Of the categories, the one whose rule fits, as the interface classifies.
const CLASSES = [[["Work"], { type: "regex", regex: "editor|terminal", ignore_case: true }]];

function dayQuery(host) {
  return `
events = flood(query_bucket(find_bucket("aw-watcher-window_${host}")));
not_afk = flood(query_bucket(find_bucket("aw-watcher-afk_${host}")));
not_afk = filter_keyvals(not_afk, "status", ["not-afk"]);
events = filter_period_intersect(events, not_afk);
events = categorize(events, ${JSON.stringify(CLASSES)});
title_events = sort_by_duration(merge_events_by_keys(events, ["app", "title"]));
app_events = sort_by_duration(merge_events_by_keys(title_events, ["app"]));
cat_events = sort_by_duration(merge_events_by_keys(events, ["$category"]));
app_events = limit_events(app_events, 100);
title_events = limit_events(title_events, 100);
duration = sum_durations(events);
RETURN = {"app_events": app_events, "title_events": title_events,
  "cat_events": cat_events, "duration": duration, "active_events": not_afk};`
    .split("\n").map((line) => line.trim()).filter((line) => line);
}

async function timeline() {
  const buckets = await client.getBuckets();
  const end = new Date(Math.max(...Object.values(buckets).map((b) => b.last_updated || 0)));
  const start = new Date(end - 12 * 3600 * 1000);
  for (const bucket of Object.values(buckets)) {
    put(app, "h3", bucket.id);
    const row = put(app, "div", "");
    row.className = "row";
    for (const event of await client.getEvents(bucket.id, { start, end, limit: -1 })) {
      const share = (ms) => `${(100 * ms) / (end - start)}%`;
      const { left, width } = {
        left: share(event.timestamp - start), width: share(1000 * event.duration),
      };
      put(row, "div", event.data.title || event.data.status, { left, width }).className = "event";
    }
  }
}

async function activity(host, day) {
  const start = new Date(`${day}T00:00:00Z`);
  const end = new Date(start.getTime() + 24 * 3600 * 1000);
  const [found] = await client.query([{ start, end }], dayQuery(host), { name: "day" });
  put(app, "h2", `Activity on ${day}: ${Math.round(found.duration)} s`);
  for (const [heading, events, label] of [
    ["Top Applications", found.app_events, (d) => d.app],
    ["Top Window Titles", found.title_events, (d) => d.title],
    ["Top Categories", found.cat_events, (d) => d.$category.join(" > ")],
  ]) {
    put(app, "h3", heading);
    const list = put(app, "ul", "");
    for (const e of events) put(list, "li", `${label(e.data)}: ${Math.round(e.duration)} s`);
  }
}

async function raw() {
  for (const bucket of Object.values(await client.getBuckets())) {
    const count = await client.countEvents(bucket.id);
    const link = put(put(app, "p", `${bucket.id}: ${count} events `), "a", "Export as JSON");
    link.href = `/api/0/buckets/${bucket.id}/export`;
    link.download = "";
  }
}

async function show() {
  app.replaceChildren();
  app.dataset.shown = "";
  const info = await client.getInfo();
  put(app, "p", `Host: ${info.hostname}, ${info.version}`);
  // As the interface does at its start: read the settings, and write one back.
  const settings = await client.get_settings();
  const loads = (settings.loads || 0) + 1;
  await client.req.post("/0/settings/loads", JSON.stringify(loads), {
    headers: { "Content-Type": "application/json" },
  });
  put(app, "p", `loads: ${loads}`);
  const [, view, host, , day] = window.location.hash.slice(1).split("/");
  if (view === "activity") await activity(decodeURIComponent(host), day);
  else if (view === "buckets") await raw();
  else await timeline();
  app.dataset.shown = window.location.hash;
}

window.addEventListener("hashchange", show);
show();
