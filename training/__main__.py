"""The program `depthstream`, also `python -m training`."""

import sys

from sharding import commands as sharding_commands
from sharding.cli import main as run_program
from training import commands as training_commands

DESCRIPTION = "Stream sharded images and depth into pretraining and fine-tuning of a depth U-Net."


def main() -> int:
    """Run the command on the command line and return its exit status."""
    return run_program("depthstream", DESCRIPTION, (*sharding_commands.COMMANDS, *training_commands.COMMANDS))


if __name__ == "__main__":
    sys.exit(main())
