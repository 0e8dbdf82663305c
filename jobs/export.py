"""The job that exports a finished model to ONNX, with a card of its preprocessing."""

import sys

from jobs.entry import JobContext, run_job
from pipelines import manifest
from pipelines.durable import write_atomically
from pipelines.embedder import CARD_NAME, MODEL_NAME
from pipelines.settings import ShowSettings
from training.export import OPSET, export_onnx
from training.model_file import ModelCard, read_model


def export_model(context: JobContext) -> None:
    """Write model.onnx and embedder.json."""
    backbone, card = read_model(context.parents["model"])
    exported = export_onnx(backbone, size_px=card.model.input_size_px)
    manifest.clear(context.folder)
    contents = {MODEL_NAME: exported.onnx, CARD_NAME: (_show(card).model_dump_json(indent=1) + "\n").encode()}
    for name, content in contents.items():
        write_atomically(context.folder / name, content)
    context.finish(
        counts={"bytes": len(exported.onnx), "dimensions": card.model.embedding_dim},
        files=[manifest.describe(context.folder, context.folder / name) for name in contents],
        summary=f"{len(exported.onnx):,} bytes of ONNX, off torch by {exported.max_difference:.1g} "
        f"where features reach {exported.max_feature:.2g}",
        facts={"opset": OPSET, "max_difference": exported.max_difference, "max_feature": exported.max_feature},
    )


def _show(card: ModelCard) -> ShowSettings:
    """The preprocessing of `training.models.normalise` and of the feed's decoder without random augmentation."""
    decode = card.decode
    return ShowSettings(size_px=decode.size_px, crop=decode.crop, fit=decode.fit)


if __name__ == "__main__":
    sys.exit(run_job("export", export_model))
