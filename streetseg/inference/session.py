"""Opening of ONNX graphs for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.parallel import cores

CPU = "CPUExecutionProvider"


def available_providers() -> list[str]:
    """CUDA, if ONNX Runtime has it, and the CPU."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [provider for provider in ("CUDAExecutionProvider", CPU) if provider in available]


def release_after_run() -> Any:
    """Options for a run after which the memory of its tensors goes back to the system."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def open_session(
    graph: Path, providers: Sequence[str], threads: int = 0, content: bytes | None = None
) -> Any:
    """An ``onnxruntime.InferenceSession`` of a graph.

    Args:
        graph: its file.
        providers: in order of preference.
        threads: computing threads on a CPU; 0 for one on each core.
        content: of the graph, if it is not what the file holds.

    Raises:
        StreetsegError: ONNX Runtime cannot open it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or cores()
    # Patterns are planned for each shape of input, and would double the memory of batches.
    options.enable_mem_pattern = providers[0] != CPU
    # Spinning threads would take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content or str(graph), options, providers=[*providers])
    except Exception as error:
        raise StreetsegError(f"cannot open {graph}: {one_line(error)}") from None
