"""Two processes hammer one file, with a worker on it as well: nobody is locked out, and every job is there."""

import os
import subprocess
import sys

from chaos.fleet import PATH
from faults.site import Site
from treadle import State

EACH = 1000
HAMMER = """
import sys, threading
from faults.jobs import app, well

def hammer() -> None:
    for number in range({each} // 4):
        if number % 10:
            well.enqueue()
        else:
            app.enqueue_many([well.call() for _ in range(10)])

threads = [threading.Thread(target=hammer) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
app.close()
"""
STORED = EACH // 4 // 10 * 4 * (9 + 10)


def test_two_processes_on_one_file_are_never_locked_out(site: Site) -> None:
    site.crew()
    environment = os.environ | {"TREADLE_URL": site.url, "CHAOS_FOLDER": str(site.folder), "PYTHONPATH": PATH}
    command = [sys.executable, "-c", HAMMER.format(each=EACH)]
    hammers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [hammer.communicate(timeout=120)[0] for hammer in hammers]
    assert [hammer.returncode for hammer in hammers] == [0, 0], said
    assert not any("locked" in each or "Busy" in each for each in (*said, site.logs())), said
    site.drained()
    assert site.account.counts() == {State.COMPLETED: 2 * STORED}
