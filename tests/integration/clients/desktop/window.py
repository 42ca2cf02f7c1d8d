"""A window on an X screen, which does what standard input says, line by line.

`{"app": …, "title": …}` shows the window under that name and makes it the active
one, as a window manager would; `{"press": true}` presses a key. Runs under the
Python that has python-xlib.
"""

import json
import sys

from Xlib import XK, X, Xatom, display
from Xlib.ext import xtest


def main() -> None:
    """Obey until the input ends; say "done" after each line."""
    screen = display.Display()
    root = screen.screen().root
    window = root.create_window(0, 0, 300, 100, 0, X.CopyFromParent)
    text = screen.intern_atom("UTF8_STRING")
    for line in sys.stdin:
        wanted = json.loads(line)
        if "press" in wanted:
            key = screen.keysym_to_keycode(XK.XK_a)
            xtest.fake_input(screen, X.KeyPress, key)
            xtest.fake_input(screen, X.KeyRelease, key)
        else:
            name = screen.intern_atom("_NET_WM_NAME")
            window.change_property(name, text, 8, wanted["title"].encode())
            window.set_wm_class(wanted["app"], wanted["app"].capitalize())
            window.map()
            active = screen.intern_atom("_NET_ACTIVE_WINDOW")
            root.change_property(active, Xatom.WINDOW, 32, [window.id])
        screen.sync()
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
