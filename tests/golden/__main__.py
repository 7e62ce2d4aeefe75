"""`python -m tests.golden`: record anew. Refuses where what is computed changed and the kind's RECIPE did not rise."""

import argparse
import json
import sys

from . import RULE, keys, results


def main() -> int:
    """Exit status 1: refused, nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--force", action="store_true", help="record all the same: words or looks alone changed")
    force: bool = parser.parse_args().force
    key_record, changes = keys.current(), list[keys.Change | results.Change]()
    if keys.FILE.exists():
        changes += list(keys.changes(keys.recorded(), key_record))
    if results.FILE.exists():
        changes += list(results.changes(results.recorded(), results.current(results.FILE)))
    for change in changes:
        print(change)
    if not force and any(change.owed for change in changes):
        print(f"not recorded: {RULE} (--force: record all the same)")
        return 1
    keys.FILE.write_text(json.dumps(key_record, indent=1) + "\n")
    results.write(results.current(None))
    return 0


sys.exit(main())
