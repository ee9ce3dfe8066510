"""Published weights from a folder of the user's, for networks whose study starts from them; nothing is downloaded.

The folder has, as their authors publish them:

    CvT-13-224x224-IN-1k.pth         CvT-13 trained on ImageNet-1k, of the original repository (microsoft/CvT), or
    cvt-13/model.safetensors         the same as transformers has it (microsoft/cvt-13)
    bert-large-uncased/config.json   BERT-large-uncased as transformers has it
    bert-large-uncased/model.safetensors
    bert-large-uncased/vocab.txt     its vocabulary, which the data sets of text read
"""

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lerac.study.errors import StudyError
from lerac.study.models.network import library

__all__ = ["ENVIRONMENT", "load_bert_large", "load_cvt13", "load_file", "renamed_cvt", "weights_folder"]

ENVIRONMENT = "LERAC_WEIGHTS"
CVT_FILE, CVT_FOLDER, BERT_FOLDER = "CvT-13-224x224-IN-1k.pth", "cvt-13", "bert-large-uncased"

# Original name → that of transformers, one after the other, of a name's beginning to its end.
_CVT_NAMES = (
    (r"^norm\.", "layernorm."),
    (r"^head\.", "classifier."),
    (r"^stage(\d+)\.", r"cvt.encoder.stages.\1."),
    (r"\.patch_embed\.proj\.", ".embedding.convolution_embeddings.projection."),
    (r"\.patch_embed\.norm\.", ".embedding.convolution_embeddings.normalization."),
    (r"\.blocks\.", ".layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.attention."),
    (r"\.conv_proj_(\w)\.conv\.", r".convolution_projection_\1.convolution_projection.convolution."),
    (r"\.conv_proj_(\w)\.bn\.", r".convolution_projection_\1.convolution_projection.normalization."),
    (r"(projection_|proj_)q\.", r"projection_query."),
    (r"(projection_|proj_)k\.", r"projection_key."),
    (r"(projection_|proj_)v\.", r"projection_value."),
)

# What shapes of weights do not show, and what they do, so that the message names the option's side.
_BERT_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
)


def weights_folder(given: Path | None, expected: str) -> Path:
    """Give the folder of published weights: as given, else as in the environment.

    Args:
        given: path, or None.
        expected: what should be in it, for the message.

    Raises:
        StudyError: if there is none, or it is not there.
    """
    path = given or (Path(told) if (told := os.environ.get(ENVIRONMENT)) else None)
    how = f"put {expected} into a folder and name it by --weights or {ENVIRONMENT}"
    if path is None:
        raise StudyError(f"this network starts from published weights, and no folder with them is named: {how}")
    if not path.is_dir():
        raise StudyError(f"there is no folder of weights {str(path)!r}: {how}")
    return path


def load_cvt13(network: nn.Module, weights: Path | None) -> None:
    """Fill a CvT-13 with the weights trained on ImageNet-1k; of another number of classes, the head stays new.

    The file of the original repository is taken where both are.

    Args:
        network: by `cvt13`.
        weights: folder, or None for that of the environment.

    Raises:
        StudyError: if there is no such file, or its weights do not fit.
    """
    expected = f"{CVT_FILE} (microsoft/CvT) or {CVT_FOLDER}/model.safetensors (microsoft/cvt-13)"
    folder = weights_folder(weights, expected)
    original, converted = folder / CVT_FILE, folder / CVT_FOLDER / "model.safetensors"
    if original.is_file():
        _fill(network, renamed_cvt(_read_pickle(original)), original)
    elif converted.is_file():
        _fill(network, _read_safetensors(converted), converted)
    else:
        raise StudyError(f"the weights of CvT-13 are not in {str(folder)!r}: expected {expected}")


def load_bert_large(network: nn.Module, weights: Path | None) -> None:
    """Fill a BERT-large with the weights of its pre-training; the classifier stays new unless it fits.

    Args:
        network: by `bert_large`.
        weights: folder, or None for that of the environment.

    Raises:
        StudyError: if a file is missing, or weights or sizes do not fit.
    """
    files = f"{BERT_FOLDER}/config.json, model.safetensors and vocab.txt (google-bert/bert-large-uncased)"
    folder = weights_folder(weights, files) / BERT_FOLDER
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise StudyError(f"there is no {str(folder / name)!r}: expected {files}")
    _check_sizes(network, folder / "config.json")
    _fill(network, _without_pretraining(_read_safetensors(folder / "model.safetensors")), folder / "model.safetensors")


def load_file(network: nn.Module, file: Path, classes: int) -> None:
    """Fill somebody's network with weights from a file, all of them but a last layer of other classes, which stays new.

    Args:
        network: whose parameters the file names, or those of what it wraps.
        file: of safetensors, or saved by torch: tensors by name, or a dict that has them as `state_dict` or `model`.
        classes: of the network.

    Raises:
        StudyError: if it cannot be read, or does not fit.
    """
    if not file.is_file():
        raise StudyError(f"weights: there is no file {str(file.absolute())!r}")
    tensors = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    inner = getattr(network, "module", network)
    own = inner.state_dict()
    for problem, names in (("lacks", own.keys() - tensors.keys()), ("has unknown", tensors.keys() - own.keys())):
        if names:
            raise StudyError(f"weights: {str(file)!r} does not fit {type(inner).__name__}: it {problem} {some(names)}")
    for name, tensor in tensors.items():
        wanted = own[name].shape
        if wanted != tensor.shape and wanted[:1] == (classes,) and wanted[1:] == tensor.shape[1:]:
            tensors[name] = own[name]
        elif wanted != tensor.shape:
            raise StudyError(
                f"weights: {str(file)!r} does not fit {type(inner).__name__}: {name} is {tuple(tensor.shape)}, "
                f"expected {tuple(wanted)}"
            )
    inner.load_state_dict(tensors)


def renamed_cvt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of the original repository's CvT under the names of transformers."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _CVT_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _without_pretraining(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the heads of BERT's pre-training; older files call scale and shift gamma and beta."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    old = {".gamma": ".weight", ".beta": ".bias"}
    return {re.sub(r"\.(gamma|beta)$", lambda end: old[end[0]], name): tensor for name, tensor in kept.items()}


def _check_sizes(network: nn.Module, file: Path) -> None:
    own: Any = network.get_submodule("module")
    try:
        published = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in _BERT_SIZES[:6] if key not in published]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StudyError(f"{str(file)!r} cannot be read as JSON ({error})") from None
    if missing or not isinstance(published, dict):
        raise StudyError(f"{str(file)!r} is no configuration of a BERT: it has no {', '.join(missing)}")
    for key in _BERT_SIZES:
        here = getattr(own.config, key)
        if (there := published.get(key, here)) != here:
            raise StudyError(
                f"{str(file)!r} has {key} {there}, the network {here}: take the files of bert-large-uncased, or set "
                "the options of [network] (for vocab_size, the data set's vocabulary) to what they are for"
            )


def some(names: Collection[str]) -> str:
    """List the first few names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more


def _fill(network: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Copy weights into a network of transformers, all of them but a head of another size."""
    model = network.get_submodule("module")
    own = model.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if name not in tensors or tensors[name].shape != own[name].shape:
            tensors[name] = own[name]
    # Older files have this table of 0, 1, 2, …, which the model makes by itself.
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("embeddings.position_ids")}
    for problem, names in (("lacks", own.keys() - tensors.keys()), ("has unknown", tensors.keys() - own.keys())):
        if names:
            raise StudyError(f"{str(file)!r} does not fit {type(model).__name__}: it {problem} {some(names)}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise StudyError(
                f"{str(file)!r} does not fit {type(model).__name__}: {name} is {tuple(tensor.shape)}, expected "
                f"{tuple(own[name].shape)}"
            )
    model.load_state_dict(tensors)


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip, pickle or OS error: whatever is wrong with the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{str(file)!r} cannot be read as weights saved by torch ({reason})") from None
    if isinstance(found, Mapping):
        found = next((found[key] for key in ("state_dict", "model") if isinstance(found.get(key), Mapping)), found)
    by_name = isinstance(found, Mapping) and all(isinstance(name, str) for name in found)
    if not by_name or not all(isinstance(value, Tensor) for value in found.values()):
        raise StudyError(f"{str(file)!r} must hold tensors by name, as its authors published it")
    return dict(found)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    safetensors = library("safetensors.torch", "reading published weights", "lerac[experiments]")
    try:
        tensors: dict[str, Tensor] = safetensors.load_file(file)
    except Exception as error:  # its errors are of a class of its own
        raise StudyError(f"{str(file)!r} cannot be read as safetensors ({error})") from None
    return tensors
