"""A supervisor and its workers, for one run: `python -m chaos.serve OPTIONS`, the options as JSON."""

import sys

from treadle.worker.logs import configure
from treadle.worker.options import WorkerOptions
from treadle.worker.start import load_app
from treadle.worker.supervisor import Supervisor


def main(text: str) -> int:
    options = WorkerOptions.from_json(text)
    configure(worker="supervisor")
    return Supervisor(options, load_app(options.target, options.url)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
