"""`quarantine.jsonl`: the source files that are not in a set, and why, one record a line."""

from sharding.errors import DataError
from sharding.format.strict_json import parse, to_type
from sharding.limits import MAX_JSON_BYTES, over
from sharding.sources.pairing import Refusal


def decode_quarantine(data: bytes, where: str) -> list[Refusal]:
    """Decode the file.

    Args:
        data: The file.
        where: Its name, for messages.

    Raises:
        DataError: It is too large, or a line is no record; names line and field.
    """
    if len(data) > MAX_JSON_BYTES:
        raise DataError(f"{where}: {over(f'found {len(data)} bytes', MAX_JSON_BYTES)}")
    places = ((f"{where}, line {number}", line) for number, line in enumerate(data.splitlines(), 1))
    return [to_type(parse(line, place), Refusal, place) for place, line in places]
