"""Say in two lines what a test run did: read pytest's XML report, tell how many browser tests ran, and close with the tally."""

import sys
from xml.etree import ElementTree


def main(path: str) -> int:
    """Print the tally of the report at `path`; 1 when it holds no test, since such a run shows nothing."""
    cases = ElementTree.parse(path).findall(".//testcase")  # our own file, written a moment ago
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    browser = [case for case in cases if ".browser." in f".{case.get('classname', '')}."]
    unseen = sum(case in skipped for case in browser)
    for case in skipped:
        reason = case.find("skipped")
        print(f"skipped {case.get('classname')}::{case.get('name')}: {'' if reason is None else reason.get('message')}")
    print(f"browser tests: {len(browser) - unseen} run, {unseen} skipped")
    print(f"tests: {len(cases) - len(skipped) - len(failed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 0 if cases else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
