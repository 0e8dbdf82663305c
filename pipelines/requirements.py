"""Libraries that only some machines need, and the command that installs each.

Spark executors need no torch and hosts of ranks no pyspark, so there is an extra of the distribution for each (see
pyproject.toml). Petastorm and Horovod are in neither, since pip cannot resolve them together with torch: the command
`ringmill install` installs them.
"""

from pipelines.settings import UserError

# Extra -> the modules that it adds to the base installation.
EXTRAS = {
    "spark": ("pyspark", "pandas", "scipy", "onnxruntime"),
    "train": (
        *("torch", "safetensors", "onnx", "onnxruntime", "tqdm"),
        *("dill", "diskcache", "future", "pandas", "psutil", "six", "zmq"),  # of petastorm
        *("cffi", "cloudpickle"),  # of horovod
    ),
}

INSTALL = {module: f"pip install 'ringmill[{extra}]'" for extra, modules in EXTRAS.items() for module in modules}
INSTALL |= dict.fromkeys(("horovod", "petastorm"), "ringmill install")


def missing_library(error: ModuleNotFoundError) -> Exception:
    """The error to raise in place of a failed import.

    Returns:
        A UserError with the command that installs the library; the error itself where nothing here installs it.
    """
    module = (error.name or "").partition(".")[0]
    command = INSTALL.get(module)
    return UserError(f"{module} is not installed; run `{command}`") if command else error
