"""The parts of `bench_pretrain_loader.py`: photographs and sets, the loaders, CPU clocks, figures."""
