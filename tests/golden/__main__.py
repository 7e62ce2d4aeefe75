"""`python -m tests.golden`: record anew. Refuses where what is computed changed and the kind's RECIPE did not rise."""

import argparse
import json
import sys

from . import keys


def main() -> int:
    """Exit status 1: refused, nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--force", action="store_true", help="record what changed without a new recipe, too")
    force: bool = parser.parse_args().force
    now = keys.current()
    changes = list(keys.changes(keys.recorded() if keys.FILE.exists() else {}, now))
    for change in changes:
        print(change)
    if not force and any(change.owed for change in changes):
        print("not recorded: raise the RECIPE of each kind whose computation changed (--force: record all the same)")
        return 1
    keys.FILE.write_text(json.dumps(now, indent=1) + "\n")
    return 0


sys.exit(main())
