"""The layout of a published data set: what the names of its files mean."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sharding.errors import DataError
from sharding.sources.pairing import Pairing, SkippedFile, SourcePart, sort_out
from sharding.sources.source import SourceFile


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A data set with the options that select a part of it.

    Attributes:
        parse: Parses the name of a file.
        needed: Roles that a complete sample has.
        expected: Pattern of the names that are wanted, for an error.
        foreign: Reasons to skip a file that mean that it is of another data set or split.
    """

    parse: Callable[[str], SourcePart | SkippedFile]
    needed: tuple[str, ...]
    expected: str
    foreign: tuple[str, ...]

    def pair(self, files: Sequence[SourceFile]) -> Pairing:
        """Find the samples among `files`, in any order.

        Raises:
            DataError: No file belongs to a sample.
        """
        pairing = sort_out(files, self.parse, self.needed)
        if not pairing.candidates and not pairing.refused:
            raise self.misfit(pairing.skipped, files[0].name if files else "")
        return pairing

    def wanted(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Return the files that decide what is made: those of samples, and those that are refused.

        Others, such as `.DS_Store`, may come and go.
        """
        parsed = ((file, self.parse(file.name)) for file in files)
        return [file for file, part in parsed if isinstance(part, SourcePart) or part.refused or file.lost]

    def misfit(self, skipped: Mapping[str, int], example: str = "") -> DataError:
        """Return the error of a source in which nothing is wanted.

        Args:
            skipped: Number of skipped files, by reason.
            example: Name of one of them.
        """
        found = ", ".join(f"{count} {reason}" for reason, count in Counter(skipped).most_common(4)) or "no file"
        such = f" (such as {example})" if example else ""
        return DataError(f"expected {self.expected}, found {found}{such}; is it the right archive and split?")
