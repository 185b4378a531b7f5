"""A run's model as MLflow knows models: with a signature, and what `mlflow models serve` needs."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.store.connection import connect
from harness.store.scratch import scratch_folder

if TYPE_CHECKING:
    from mlflow.types import TensorSpec

FLAVOR = "onnx"
SERVED_BY = ("mlflow", "onnx", "onnxruntime")
"""The packages of a server: no bench is among them."""


def log_onnx(uri: str, run_id: str, content: bytes) -> str:
    """Logs an ONNX file as a model of a run and returns its address, ``models:/ID``.

    The signature is that of the file, and so are the names of inputs and outputs.

    Raises:
        StoreError: The store cannot be reached.
    """
    import onnx  # of an extra
    from mlflow.models import Model, ModelSignature
    from mlflow.onnx import save_model
    from mlflow.types import Schema

    client, proto = connect(uri), onnx.load_from_string(content)
    run = client.get_run(run_id)
    inputs, outputs = (
        Schema([_spec(each) for each in values])
        for values in (proto.graph.input, proto.graph.output)
    )
    made = client.create_logged_model(
        run.info.experiment_id, name="model", source_run_id=run_id, model_type=FLAVOR
    )
    with _failing(client, made.model_id), scratch_folder() as folder:
        save_model(
            proto,
            folder / "model",
            mlflow_model=Model(run_id=run_id, model_id=made.model_id),
            signature=ModelSignature(inputs, outputs),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVED_BY],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        client.log_model_artifacts(made.model_id, str(folder / "model"))
    client.finalize_logged_model(made.model_id, "READY")
    return f"models:/{made.model_id}"


@contextmanager
def _failing(client: Any, model_id: str) -> Iterator[None]:
    """Tells MLflow of a model that could not be logged whole."""
    try:
        yield
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise


def _spec(value: Any) -> "TensorSpec":
    """Returns what MLflow says of an input or an output of an ONNX graph: -1 is any size."""
    from mlflow.types import TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    given = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in given.shape.dim)
    return TensorSpec(tensor_dtype_to_np_dtype(given.elem_type), shape, value.name)
