"""The commands that make, verify and inspect shard sets."""

from sharding.cli import Command
from sharding.config import (
    IndexConfig,
    InspectConfig,
    ShardDiodeConfig,
    ShardMegadepthConfig,
    ToyworldConfig,
    VerifyConfig,
)

COMMANDS = (
    Command(
        name="toyworld",
        config=ToyworldConfig,
        runner="sharding.toyworld:run",
        check="sharding.making.check:check_out",
        help="write a generated data set in the published layout of MegaDepth or DIODE, with exact depth",
        examples=(
            "toyworld toy/megadepth --layout megadepth --images 200",
            "toyworld toy/diode --layout diode --images 160 --height 192 --width 256",
        ),
    ),
    Command(
        name="shard megadepth",
        config=ShardMegadepthConfig,
        runner="sharding.making.create:shard_megadepth",
        check="sharding.making.check:check_shard",
        help="make a shard set from MegaDepth v1",
        examples=(
            "shard megadepth MegaDepth_v1 sets/megadepth",
            "shard megadepth MegaDepth_v1.tar.gz sets/megadepth --with-depth --max-side 1024",
        ),
    ),
    Command(
        name="shard diode",
        config=ShardDiodeConfig,
        runner="sharding.making.create:shard_diode",
        check="sharding.making.check:check_shard",
        help="make a shard set from a split of DIODE",
        examples=(
            "shard diode train.tar.gz sets/diode-train --split train --scene-type outdoor",
            "shard diode http://diode-dataset.s3.amazonaws.com/val.tar.gz sets/diode-val --split val",
            "shard diode diode sets/diode-val --split val --preset compact",
        ),
    ),
    Command(
        name="index",
        config=IndexConfig,
        runner="sharding.making.index_tars:run",
        check="sharding.making.check:check_index",
        help="make a set around WebDataset tars that were made elsewhere",
        examples=("index my-tars sets/mine",),
    ),
    Command(
        name="verify",
        config=VerifyConfig,
        runner="sharding.checking.verify:run",
        check="sharding.checking.check:check_verify",
        help="verify that a set is complete and undamaged: every byte, every sample",
        examples=("verify sets/diode-val", "verify sets/diode-val --against val.tar.gz --json"),
    ),
    Command(
        name="inspect",
        config=InspectConfig,
        runner="sharding.checking.inspection:run",
        check="sharding.checking.check:check_inspect",
        help="show what is in a set",
        examples=(
            "inspect sets/diode-val",
            "inspect sets/diode-val --where \"scene_type == 'outdoor'\" --grid views.png",
        ),
    ),
)
