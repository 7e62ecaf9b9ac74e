"""Published weights: the originals' frames, layer for layer, and nothing taken on trust."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from antiphon import cli
from antiphon.embed import embed
from antiphon.encoders.transformer import Transformer
from antiphon.evaluate import probe
from antiphon.importing import import_published
from antiphon.published import inspect_published, read_published, translate
from antiphon.report import report
from antiphon.runs import Run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "conv_dim": [16] * 7,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WAV2VEC2 = transformers.Wav2Vec2Config, transformers.Wav2Vec2Model
HUBERT = transformers.HubertConfig, transformers.HubertModel
DATA2VEC = transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel
MODELS = {
    "wav2vec2": (*WAV2VEC2, {}),
    "wav2vec2-large": (*WAV2VEC2, LARGE),
    "hubert": (*HUBERT, {}),
    "hubert-large": (*HUBERT, LARGE),
    "data2vec-audio": (*DATA2VEC, {}),
    "data2vec-audio-as-published": (*DATA2VEC, {"do_stable_layer_norm": True}),
}


def original(kind: str, made=None, **settings) -> nn.Module:
    """One of theirs, tiny, with all its weights at random, biases and scales too."""
    config, model, more = MODELS[kind]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = (made or model)(config(**TINY | more | settings)).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def prepared(folder: Path, normalise: bool = False, rate: int = 16000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"do_normalize": normalise, "sampling_rate": rate}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def saved(model: nn.Module, folder: Path, **how) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, **how)
    return prepared(folder)


def hidden(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Of every layer; the last of large models is normed in the output, but not in the list."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model(x[:, 0], output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


def ours(encoder: Transformer, x: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return encoder.layers(x)


def same(found: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert other.std() > 0.1
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def sound(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.3 * torch.randn(2, 1, 8000, generator=generator, dtype=dtype)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_layer_is_the_originals(kind, file, tmp_path):
    model = original(kind)
    if file == "model.safetensors":
        saved(model, tmp_path)
    else:
        model.config.save_pretrained(prepared(tmp_path))
        torch.save(model.state_dict(), tmp_path / file)
    encoder = read_published(tmp_path)
    assert not encoder.training
    same(ours(encoder, sound()), hidden(model, sound()))
    x = sound(torch.float64)
    same(ours(encoder.double(), x), hidden(model.double(), x), 1e-10)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-large"])
def test_waveforms_are_normalised_as_the_folder_says(kind, tmp_path):
    model = original(kind)
    saved(model, tmp_path)
    prepare = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    prepare.save_pretrained(tmp_path)
    x = 3 + 5 * sound()
    theirs = torch.from_numpy(
        prepare(list(x[:, 0].numpy()), sampling_rate=16000, return_tensors="np").input_values
    )[:, None]
    same(ours(read_published(tmp_path), x), hidden(model, theirs), 3e-5)


@pytest.mark.parametrize(
    ("kind", "made", "left_out"),
    [
        ("wav2vec2", "Wav2Vec2ForPreTraining", {"quantizer", "project_q", "project_hid"}),
        ("wav2vec2", "Wav2Vec2ForXVector", {"projector", "tdnn", "feature_extractor",
                                            "classifier", "objective"}),
        ("hubert", "HubertForCTC", {"lm_head"}),
        ("data2vec-audio", "Data2VecAudioForSequenceClassification", {"projector", "classifier"}),
    ],
)  # fmt: skip
def test_heads_are_left_out_and_listed(kind, made, left_out, tmp_path):
    model = original(kind, getattr(transformers, made), vocab_size=40)
    found = inspect_published(saved(model, tmp_path))
    assert {name.split(".")[0] for name in found.left_out} == left_out
    same(ours(found.encoder, sound()), hidden(model.base_model, sound()))


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As published before 2023."""
    new = {"parametrizations.weight.original0": "weight_g",
           "parametrizations.weight.original1": "weight_v"}  # fmt: skip
    for name, old in new.items():
        state = {key.replace(name, old): tensor for key, tensor in state.items()}
    return state


@pytest.mark.parametrize("kind", ["hubert", "hubert-large"])
@pytest.mark.parametrize("relax", [-1.0, 32.0])
def test_mert_is_hubert_at_another_rate(kind, relax, tmp_path):
    model = original(kind)
    config = json.loads(model.config.to_json_string()) | {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "sample_rate": 24000,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "deepnorm": False,
        "attention_relax": relax,
    }
    prepared(tmp_path, rate=24000)
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = old_names(model.state_dict())
    assert any(name.endswith("weight_g") for name in state)
    torch.save(state, tmp_path / "pytorch_model.bin")
    encoder = read_published(tmp_path)
    assert (encoder.sample_rate, encoder.hop, encoder.window) == (24000, 320, 120_000)
    same(ours(encoder, sound()), hidden(model, sound()))
    (tmp_path / "preprocessor_config.json").unlink()
    assert read_published(tmp_path).sample_rate == 24000
    prepared(tmp_path, rate=16000)
    with pytest.raises(ValueError, match=r"sampling_rate is 16000, but .* sample_rate of 24000"):
        read_published(tmp_path)


def test_what_relaxes_attention_changes_nothing():
    scores = 5 * torch.randn(3, 4, 6, 6, dtype=torch.float64)
    relaxed = scores / 32
    relaxed = (relaxed - relaxed.amax(-1, keepdim=True)) * 32
    torch.testing.assert_close(relaxed.softmax(-1), scores.softmax(-1))


def test_weights_in_several_files_and_half_precision(tmp_path):
    model = original("hubert").half()
    saved(model, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    found = inspect_published(tmp_path)
    assert {t.dtype for t in found.encoder.state_dict().values()} == {torch.float32}
    same(ours(found.encoder, sound()), hidden(model.float(), sound()))
    assert set(found.files) == {p.name for p in tmp_path.iterdir()} - {"README.md"}
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    index["weight_map"]["more"] = "../elsewhere.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        read_published(tmp_path)


@pytest.mark.parametrize(
    ("kind", "settings", "count"),
    [
        ("hubert", {}, 94_371_712),
        ("wav2vec2", {}, 94_371_712),
        ("wav2vec2-large", {"hidden_size": 1024, "num_hidden_layers": 24,
                            "num_attention_heads": 16, "intermediate_size": 4096}, 315_438_720),
        ("data2vec-audio", {}, None),
    ],
)  # fmt: skip
def test_published_sizes_fit(kind, settings, count):
    config, model, more = MODELS[kind]
    with torch.device("meta"):
        theirs = model(config(**more, **settings))
        encoder = Transformer(
            extractor_norm="group" if kind in ("hubert", "wav2vec2") else "layer",
            extractor_bias="conv_bias" in more,
            positions=5 if kind == "data2vec-audio" else 1,
            norm_first="do_stable_layer_norm" in more,
            dim=settings.get("hidden_size"),
            depth=settings.get("num_hidden_layers"),
            heads=settings.get("num_attention_heads"),
        )
    state, left_out = translate(encoder, old_names(theirs.state_dict()), "", kind)
    assert not left_out
    assert set(state) == set(encoder.state_dict())
    sizes = sum(t.numel() for t in state.values()), sum(p.numel() for p in theirs.parameters())
    assert sizes[0] == sizes[1] == (count or sizes[1])


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x, 2))])
def test_a_pickle_that_would_run_code_is_refused(how, tmp_path):
    model, mark = original("hubert"), tmp_path / "mark"
    model.config.save_pretrained(prepared(tmp_path / "model"))
    how({**model.state_dict(), "x": Evil(mark)}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could run code") as refused:
        read_published(tmp_path / "model")
    assert "weights_only" not in str(refused.value)
    assert not mark.exists()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny HuBERT."""
    return saved(original("hubert"), tmp_path / "hubert")


def with_tensors(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


def with_config(folder: Path, **settings) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda s: s.pop("encoder.layers.1.attention.k_proj.bias"),
         r"lack encoder\.layers\.1\.attention\.k_proj\.bias"),
        (lambda s: s.update(more=torch.zeros(1)), r"unknown here: more"),
        (lambda s: s.update({"encoder.layers.3.layer_norm.bias": torch.zeros(32)}),
         r"unknown here: encoder\.layers\.3\.layer_norm\.bias"),
        (lambda s: s.update(masked_spec_embed=torch.zeros(31)),
         r"masked_spec_embed is \(31,\), not \(32,\)"),
        (lambda s: s.update({"hubert.masked_spec_embed": torch.zeros(32)}), "two names"),
        (lambda s: s.pop("masked_spec_embed"), "lack masked_spec_embed"),
    ],
)  # fmt: skip
def test_every_tensor_is_accounted_for(change, answer, folder):
    with_tensors(folder, change)
    with pytest.raises(ValueError, match=answer):
        read_published(folder)


def test_a_model_that_is_never_masked_needs_no_mask_vector(folder):
    before = read_published(folder)
    with_tensors(folder, lambda s: s.pop("masked_spec_embed"))
    with_config(folder, mask_time_prob=0.0, mask_feature_prob=0.0)
    assert not read_published(folder).mask_vector.any()
    same(ours(read_published(folder), sound()), ours(before, sound()), 0)


@pytest.mark.parametrize(
    "setting",
    [
        {"hidden_act": "relu"},
        {"feat_extract_activation": "gelu_new"},
        {"layer_norm_eps": 1e-12},
        {"conv_stride": [5, 2, 2, 2, 2, 2, 1]},
        {"conv_kernel": [10, 3, 3, 3, 3, 2, 3]},
        {"conv_dim": [16, 16, 16, 16, 16, 16, 32]},
        {"feat_extract_norm": "batch"},
        {"num_conv_pos_embeddings": 64},
        {"num_conv_pos_embedding_groups": 8},
        {"feat_proj_layer_norm": False},
        {"conv_pos_batch_norm": True},
        {"add_adapter": True},
        {"adapter_attn_dim": 16},
        {"deepnorm": True},
        {"feature_extractor_cqt": True},
        {"hidden_size": "32"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_that_are_not_supported_are_named(setting, folder):
    with_config(folder, **setting)
    name, value = next(iter(setting.items()))
    with pytest.raises(ValueError, match="aren't supported") as refused:
        read_published(folder)
    assert f"{name} = {value!r} (only" in str(refused.value)


def test_what_is_no_model_is_answered_in_a_line(folder, tmp_path):
    def refused(error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            read_published(folder)

    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder.*hf download"):
        read_published(tmp_path / "nowhere")
    with_config(folder, model_type="wavlm")
    refused(ValueError, "model_type is 'wavlm'; these can be read: wav2vec2, hubert")
    with_config(folder, model_type="hubert")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-20])
    refused(ValueError, r"model\.safetensors is broken")
    (folder / "model.safetensors").unlink()
    refused(FileNotFoundError, "neither model.safetensors nor pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(b"PK not a zip")
    refused(ValueError, r"pytorch_model\.bin is")
    torch.save([1, 2], folder / "pytorch_model.bin")
    refused(ValueError, "isn't a state dict")
    (folder / "config.json").write_text("{")
    refused(ValueError, r"config\.json is not JSON")
    (folder / "config.json").unlink()
    refused(FileNotFoundError, "has no config.json")


CARD = "---\nlanguage: en\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# A model\n"


def test_a_run_that_every_verb_takes(folder, tones, tmp_path, capsys):
    (folder / "README.md").write_text(CARD)
    out = tmp_path / "run"
    status = cli.main(["import", str(folder), "--out", str(out), "--seconds", "1"])
    assert status == 0
    assert "hubert" in capsys.readouterr().err
    run = Run.open(out)
    assert run.finished
    encoder = run.encoder()
    same(ours(encoder, sound()), ours(read_published(folder), sound()), 0)
    assert encoder.window == 16000
    card = (out / "card.md").read_text()
    assert 'license: "cc-by-nc-4.0"' in card
    assert "isn't known" in card
    assert f"`{folder.name}`" in card
    assert run.config["imported"]["files"]["model.safetensors"] in card
    table = embed(out, tones, tmp_path / "x.parquet", progress=False)
    assert table.is_file()
    rows = probe(out, tones, probes=["knn"], seeds=1, resamples=50, progress=False)
    assert {"pretrained", "random-init", "log-mel"} <= {row["model"] for row in rows}
    assert {row["heard"] for row in rows} == {None}
    text = report(out).read_text()
    assert "never heard" not in text
    assert "none of the tested tracks" not in text
    assert "None of these tracks" not in text
    assert "isn't known" in text
    assert "pre-training began" not in text


def test_an_imported_run_is_not_trained(folder, tmp_path, capsys):
    run = import_published(folder, tmp_path / "run", progress=False)
    capsys.readouterr()
    words = ["pretrain", "demo", "--config", str(run.config_path), "--out", str(tmp_path / "new")]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "is of imported weights, which were not trained here" in said
    assert f"antiphon probe {run.folder} DATA" in said
    assert f"--recipe hubert --method.teacher {run.folder}" in said
    assert not (tmp_path / "new").exists()
    before = run.config_path.read_text()
    assert cli.main(["pretrain", "demo", "--recipe", "demo", "--out", str(run.folder)]) == 2
    said = capsys.readouterr().err
    assert f"{run.folder} holds imported weights: choose another --out" in said
    assert "--config" not in said
    assert run.config_path.read_text() == before


def test_a_run_is_not_written_over(folder, tmp_path):
    run = import_published(folder, tmp_path / "run", progress=False)
    assert "not stated" in (run.folder / "card.md").read_text()
    with pytest.raises(ValueError, match="holds a run already"):
        import_published(folder, tmp_path / "run")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        import_published(folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="shorter than a frame"):
        import_published(saved(original("hubert"), tmp_path / "h"), tmp_path / "o", seconds=0.01)
