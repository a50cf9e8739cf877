"""A GGUF file again with fewer bits a weight, by the package `gguf`.

As llama.cpp's own program does it, norms and biases stay as they are; the table of tokens and the output matrix, which
matter most and are read once a token, keep 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_KEPT = ("token_embd.weight", "output.weight")


def requantize(source: Path, target: Path, quantization: str, watch: Callable[[float], None]) -> None:
    """Write the F16 model in `source` as `target`; quantization: q4_0, q4_1, q5_0 or q5_1. watch: called after each
    tensor with the share that is done."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    kind, wide = getattr(gguf.GGMLQuantizationType, quantization.upper()), gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(target, reader.get_field(gguf.Keys.General.ARCHITECTURE).contents())
    replaced = {gguf.Keys.General.FILE_TYPE: int(getattr(gguf.LlamaFileType, f"MOSTLY_{quantization.upper()}"))}
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, replaced.get(field.name, field.contents()), field.types[0], inner)
    types = []
    for tensor in reader.tensors:
        is_matrix = tensor.tensor_type == gguf.GGMLQuantizationType.F16 and len(tensor.shape) > 1
        chosen = (wide if tensor.name in _KEPT else kind) if is_matrix else tensor.tensor_type
        if is_matrix and tensor.shape[0] % gguf.GGML_QUANT_SIZES[chosen][0]:
            chosen = tensor.tensor_type  # its rows are no multiple of a block
        shape = tuple(int(each) for each in reversed(tensor.shape))
        types.append(chosen)
        if chosen == tensor.tensor_type:
            writer.add_tensor_info(tensor.name, shape, tensor.data.dtype, tensor.data.nbytes)
        else:
            stored = gguf.quant_shape_to_byte_shape(shape, chosen)
            bytes_ = int(np.prod(stored))
            writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), bytes_, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, (tensor, chosen) in enumerate(zip(reader.tensors, types, strict=True), start=1):
        data = tensor.data
        if chosen != tensor.tensor_type:
            data = gguf.quantize(data.astype(np.float32), chosen)
        writer.write_tensor_data(data)
        watch(done / len(types))
    writer.close()
