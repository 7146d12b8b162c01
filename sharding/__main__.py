"""The program `python -m sharding`: the shard commands alone, for a machine without torch."""

import sys

from sharding.cli import main
from sharding.commands import COMMANDS

if __name__ == "__main__":
    sys.exit(main("python -m sharding", "Make, verify and inspect shard sets.", COMMANDS))
