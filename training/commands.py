"""The commands that train, evaluate, compare and profile, and the demo."""

from sharding.cli import Command
from training.config import (
    CompareConfig,
    DemoConfig,
    EvaluateConfig,
    ExportConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    ProfileConfig,
)

COMMANDS = (
    Command(
        name="demo",
        config=DemoConfig,
        runner="training.demo:run",
        check="sharding.making.check:check_out",
        help="run every step on generated data, on the CPU, in minutes",
        examples=("demo", "demo --out /tmp/demo"),
    ),
    Command(
        name="pretrain",
        config=PretrainConfig,
        runner="training.pretraining.pretrain:run",
        check="training.pretraining.check:check_pretrain",
        ranked=True,
        help="pretrain an encoder on the images of shard sets, with LightlyTrain",
        examples=(
            "pretrain sets/megadepth --out runs/conservative --augmentation conservative",
            "pretrain sets/megadepth sets/diode-train --weights 2,1 --out runs/mixed --devices 4 --batch-size 1024",
        ),
    ),
    Command(
        name="finetune",
        config=FinetuneConfig,
        runner="training.finetuning.finetune:run",
        check="training.finetuning.check:check_finetune",
        ranked=True,
        help="fine-tune a depth U-Net from a pretrained encoder or from scratch",
        examples=(
            "finetune sets/diode-train --val sets/diode-val --out runs/depth --encoder runs/conservative",
            "finetune sets/diode-train --val sets/diode-val --where \"scene_type == 'outdoor'\" --out runs/scratch",
        ),
    ),
    Command(
        name="evaluate",
        config=EvaluateConfig,
        runner="training.evaluation.evaluate:run",
        check="training.evaluation.check:check_evaluate",
        help="measure a run on a set, at native resolution",
        examples=("evaluate runs/depth sets/diode-val", "evaluate runs/depth sets/diode-val --protocol devkit --json"),
    ),
    Command(
        name="predict",
        config=PredictConfig,
        runner="training.evaluation.predict:run",
        check="training.evaluation.check:check_predict",
        help="predict the depth of images of any size, in files and folders",
        examples=(
            "predict runs/depth photo.jpg --out predictions",
            "predict runs/depth photos 'more/*.jpg' --out predictions --focal-px 2900",
        ),
    ),
    Command(
        name="export",
        config=ExportConfig,
        runner="training.evaluation.export:run",
        check="training.evaluation.check:check_export",
        help="write the network of a run as an ONNX file, compared with the original before",
        examples=("export runs/depth --onnx depth.onnx", "export runs/depth/checkpoints/last.ckpt --onnx depth.onnx"),
    ),
    Command(
        name="compare",
        config=CompareConfig,
        runner="training.report.compare:run",
        check="training.report.check:check_compare",
        help="compare arms, each of several runs, with each other and with two baselines, in one HTML file",
        examples=(
            "compare runs/near-* runs/far-* runs/scratch-* --contrasts near:far --out report.html",
            "compare --arm near=runs/a,runs/b,runs/c --arm far=runs/d,runs/e,runs/f --val sets/diode-val --out r.html",
        ),
    ),
    Command(
        name="profile",
        config=ProfileConfig,
        runner="training.profiling.profile:run",
        check="training.profiling.check:check_profile",
        help="measure each stage of loading alone and together, and name the one that limits the rate",
        examples=(
            "profile sets/diode-train",
            "profile sets/diode-train --height 384 --width 512 --batch-size 8 --num-workers 4 --json",
        ),
    ),
)
