"""data2vec 2.0: what the teacher says, what the student may hear, and how one follows the other."""

from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from antiphon import recipes
from antiphon.chain import Chain
from antiphon.configured import build, describe
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.transformer import Transformer
from antiphon.excerpts import Batch
from antiphon.masking import block_mask, numbers_of
from antiphon.methods import data2vec2
from antiphon.methods.data2vec2 import Data2Vec2
from antiphon.optim import Optim
from antiphon.settings import Train
from antiphon.train import pretrain

FRAMES, DIM = 63, 32


@pytest.fixture(autouse=True)
def one_thread():
    """Two would wait for each other longer than these small products take."""
    torch.set_num_threads(1)


def encoder(**arguments) -> Transformer:
    small = {
        "front_end": "log-mel", "patch": 1, "bands": 32, "channels": 16, "dim": DIM, "depth": 3,
        "heads": 2, "dropout": 0.0, "layer_drop": 0.0, "seconds": 2.0,
    }  # fmt: skip
    return Transformer(8000, **{**small, **arguments})


def method(of: Transformer | None = None, **arguments) -> Data2Vec2:
    """In double precision, with feed-forward parts that say something from the start."""
    torch.manual_seed(0)
    small = {"masks": 2, "decoder_dim": 32, "decoder_dropout": 0.0, "decay": (0.9, 0.99)}
    of = of or encoder()
    with torch.no_grad():
        for block in of.blocks:
            block.narrow.weight.mul_(100)
    return Data2Vec2(of, **{**small, **arguments}).double()


def batch(items: int = 3, seed: int = 1, window: int = 16000) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    sound = 0.1 * torch.randn(1, items, 1, window, dtype=torch.float64, generator=draw)
    return Batch(sound, torch.arange(items))


def frames(items: int = 3, seed: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(items, FRAMES, 16, dtype=torch.float64, generator=draw)


DATA2VEC1 = {"masks": 1, "hide": "vector", "p": 0.65, "length": 10, "decoder_depth": 0}


class TestTargets:
    @pytest.mark.parametrize("top", [1, 2, 3, 8])
    def test_mean_0_and_deviation_of_at_most_1_over_time(self, top):
        y = method(top=top).targets(frames())
        assert y.shape == (3, FRAMES, DIM)
        assert y.mean(1).abs().max() < 1e-12
        deviation = y.std(1, correction=0)
        assert deviation.max() < 1 + 1e-12
        assert (deviation.min() > 0.99) == (top == 1)
        assert deviation.mean() > 0.99 or top > 1

    def test_deviation_is_1_where_blocks_agree(self, monkeypatch):
        played, block = method(top=2), frames()
        monkeypatch.setattr(played.teacher, "feed_forward", lambda _: [block, 2 * block + 3])
        deviation = played.targets(block).std(1, correction=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0, atol=1e-4)

    def test_of_the_top_blocks_each_by_itself(self):
        played = method(top=2)
        wanted = torch.zeros(3, FRAMES, DIM, dtype=torch.float64)
        for block in played.teacher.feed_forward(frames())[1:]:
            for item in range(3):
                for channel in range(DIM):
                    l = block[item, :, channel]  # noqa: E741
                    normed = (l - l.mean()) / (l.var(correction=0) + 1e-5).sqrt()
                    wanted[item, :, channel] += normed / 2
        torch.testing.assert_close(played.targets(frames()), wanted)

    def test_over_channels_keep_what_tells_excerpts_apart(self):
        played = method(top=2, normalise="channels")
        wanted = torch.zeros(3, FRAMES, DIM, dtype=torch.float64)
        for block in played.teacher.feed_forward(frames())[1:]:
            centred = block - block.mean(2, keepdim=True)
            wanted += centred / (block.var(2, correction=0, keepdim=True) + 1e-5).sqrt() / 2
        found = played.targets(frames())
        torch.testing.assert_close(found, wanted)
        assert found.mean(1).abs().mean() > 0.01
        with pytest.raises(ValueError, match="time, channels"):
            method(normalise="batch")

    def test_constant_frames_show_in_the_log(self, monkeypatch):
        played = method()
        still = torch.ones(3, FRAMES, DIM, dtype=torch.float64)
        assert played(batch())["target_std"] > 0.3
        monkeypatch.setattr(played.teacher, "feed_forward", lambda _: [still])
        torch.nn.init.zeros_(played.decoder.out.weight)
        values = played(batch())
        assert values["target_std"] < 1e-6
        assert values["prediction_std"] < 1e-6

    def test_what_place_alone_tells_shows_and_can_be_taken_off(self, monkeypatch):
        """Targets that are the same in all excerpts: the usual guards see nothing wrong."""
        place = torch.randn(FRAMES, DIM, dtype=torch.float64)
        for centred in (False, True):
            played = method(centred=centred)
            assert 0.3 <= played(batch())["place"] < 0.9  # a third by chance
            monkeypatch.setattr(
                played.teacher, "feed_forward", lambda x: [torch.stack([place] * len(x))]
            )
            values = played(batch())
            assert values["place"] == pytest.approx(1)
            assert values["target_std"] < 1e-6 if centred else values["target_std"] > 0.9

    @pytest.mark.parametrize(
        ("healthy", "spoilt", "said"),
        [
            ({"target_std": 0.1}, {"target_std": 0.099}, "alike.*--method.decay nearer to 1"),
            ({"prediction_std": 0.01}, {"prediction_std": 0.0099}, "alike.*lower --optim.lr"),
            ({"place": 0.8}, {"place": 0.81}, "81%.*--method.centred true"),
        ],
    )
    def test_a_collapse_is_warned_of(self, healthy, spoilt, said):
        usual = {"loss": 1.0, "target_std": 0.5, "prediction_std": 0.3, "place": 0.1}
        assert method().warning({**usual, **healthy}) is None
        assert re.search(said, method().warning({**usual, **spoilt}))
        if "place" in spoilt:  # it is taken off there
            assert method(centred=True).warning({**usual, **spoilt}) is None

    def test_one_excerpt_has_no_place_in_common_with_others(self):
        values = method()(batch(1))
        assert "place" not in values
        assert method().warning({n: v.item() for n, v in values.items()}) is None

    def test_the_warning_comes_once_while_it_trains(self, tones, tmp_path, capsys, monkeypatch):
        torch.manual_seed(0)
        played = Data2Vec2(encoder(), masks=2, decoder_dim=32)
        still = torch.ones(4, FRAMES, DIM)
        monkeypatch.setattr(played.teacher, "feed_forward", lambda _: [still])
        run = pretrain(
            tones, tmp_path, played, Chain("none"), Optim("adamw"), Train(21, 4, log_every=1)
        )
        (warned,) = run.events("warning")
        assert warned["step"] == 3  # a tenth of all
        assert "all frames are becoming alike" in warned["text"]
        assert capsys.readouterr().err.count("all frames are becoming alike") == 1

    def test_are_of_the_sound_without_augmentation(self):
        played, whole = method(decay=(1.0, 1.0)).eval(), batch()
        louder = torch.randn_like(whole.views)
        torch.nn.init.zeros_(played.decoder.out.weight)
        torch.nn.init.zeros_(played.decoder.out.bias)  # the loss is then that of the targets alone
        losses = []
        for seen in (whole, whole.augmented(whole.views.clone()), whole.augmented(louder)):
            torch.manual_seed(3)
            losses.append(played(seen)["loss"].item())
        assert losses[0] == losses[1] == losses[2]


class TestTeacher:
    def test_gets_no_gradient_and_is_not_optimised(self):
        played = method()
        played(batch())["loss"].backward()
        its = list(played.teacher.parameters())
        assert its
        assert all(p.grad is None and not p.requires_grad for p in its)
        optimiser = Optim("adamw").build(played, 4)
        optimised = {id(p) for group in optimiser.param_groups for p in group["params"]}
        assert not optimised & {id(p) for p in its}
        rest = [p for name, p in played.named_parameters() if not name.startswith("teacher.")]
        assert optimised == {id(p) for p in rest}

    def test_only_the_mask_vector_is_left_out_and_only_where_frames_are_dropped(self):
        for arguments, wanted in (({}, {"encoder.mask_vector"}), (DATA2VEC1, set())):
            played = method(encoder(positions=5, alibi=True), **arguments)
            played(batch())["loss"].backward()
            without = {
                n for n, p in played.named_parameters() if p.requires_grad and p.grad is None
            }
            assert without == wanted

    def test_one_step_is_d_old_plus_the_rest_new(self):
        played = method(decay=(0.9, 0.99), rise=0.5)
        assert [played.decay_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
            [0.9, 0.945, 0.99, 0.99]
        )
        assert method(rise=0.0).decay_at(0.0) == 0.99
        old = {name: p.clone() for name, p in played.teacher.named_parameters()}
        with torch.no_grad():
            for p in played.encoder.parameters():
                p.add_(torch.randn_like(p))
        new = dict(played.encoder.named_parameters())
        played.after_step(0.25)
        for name, p in played.teacher.named_parameters():
            assert not p.equal(old[name])
            torch.testing.assert_close(p, 0.945 * old[name] + 0.055 * new[name])

    @pytest.mark.parametrize("d", [0.0, 1.0])
    def test_that_never_or_always_is_the_encoder(self, d):
        played = method(decay=(d, d))
        before = copy.deepcopy(played.teacher.state_dict())
        train(played, 3)
        for name, tensor in played.teacher.state_dict().items():
            assert tensor.equal(before[name] if d else played.encoder.state_dict()[name])
        assert any(
            not p.equal(before[n]) for n, p in played.encoder.named_parameters() if n in before
        )

    def test_has_no_local_features_of_its_own(self):
        names = {name.partition(".")[0] for name in method().teacher.state_dict()}
        assert names == {name.partition(".")[0] for name in encoder().state_dict()} - {"extractor"}

    @pytest.mark.parametrize("masks", [1, 2, 8])
    def test_is_asked_once_however_many_masks(self, masks, monkeypatch):
        played, calls = method(masks=masks), []

        def counting(part, name):
            original = getattr(part, name)

            def counted(x, *args, **kwargs):
                calls.append((name, len(x), torch.is_grad_enabled()))
                return original(x, *args, **kwargs)

            monkeypatch.setattr(part, name, counted)

        counting(played.encoder, "features")
        counting(played.encoder, "context")
        counting(played.teacher, "feed_forward")
        played(batch())
        assert sorted(calls) == [
            ("context", 3 * masks, True), ("features", 3, True), ("feed_forward", 3, False),
        ]  # fmt: skip

    def test_never_drops_anything(self):
        played = method(encoder(dropout=0.5, layer_drop=0.5)).train()
        assert played.encoder.training
        assert not any(part.training for part in played.teacher.modules())
        assert played.targets(frames()).equal(played.targets(frames()))


class TestWhatTheStudentHears:
    @pytest.mark.parametrize("arguments", [{}, {"inverse": False}, {"p": 0.8}, {"hide": "vector"}])
    def test_every_row_hides_equally_many(self, arguments):
        torch.manual_seed(0)
        hidden = method(masks=8, **arguments).mask(24, FRAMES).sum(1)
        assert len(hidden.unique()) == 1
        if arguments.get("hide") != "vector":
            share = arguments.get("p", 0.5)
            assert abs(hidden[0].item() - share * FRAMES) <= 1

    @pytest.mark.parametrize("arguments", [{}, DATA2VEC1])
    def test_hidden_sound_changes_the_targets_and_nothing_else(self, arguments):
        """Convolutions without a norm over time: frame f hears samples 320 f to 320 f + 399."""
        local = {"front_end": "waveform", "extractor_norm": "layer", "normalise": False}
        played = method(encoder(**local, positions=5, alibi=True), **arguments).eval()
        sound = batch(2, window=16000).views[0]
        other = sound.clone()
        other[:, :, 21 * 320 : 28 * 320] += torch.randn_like(other[:, :, 21 * 320 : 28 * 320])
        mask = torch.zeros(2, 49, dtype=torch.bool)
        mask[:, 20:30] = True
        mask[:, 5] = True
        predicted, targets = [], []
        for x in (sound, other):
            torch.manual_seed(0)
            features = played.encoder.features(x)
            predicted.append(played.predict(features, mask, numbers_of(mask)))
            targets.append(played.targets(features))
        assert predicted[0].equal(predicted[1])
        assert (targets[0] - targets[1]).abs().amax(2).min() > 0  # the teacher hears it everywhere

    def test_visible_sound_matters(self):
        played = method().eval()
        mask = played.mask(3, FRAMES)
        x, hidden = frames(), numbers_of(mask)
        x.requires_grad_()
        played.predict(x, mask, hidden).square().sum().backward()
        assert ((x.grad.abs().sum(2) > 0) == ~mask).all()

    def test_the_decoder_is_given_every_frame_in_its_place(self, monkeypatch):
        played, given = method(), []
        marks = torch.arange(1.0, 1 + 6 * FRAMES, dtype=torch.float64).view(6, FRAMES, 1)
        marks = marks.expand(-1, -1, DIM)
        mask = played.mask(6, FRAMES)

        def chosen(features, keep):
            return [features.gather(1, keep[..., None].expand(-1, -1, DIM))]

        monkeypatch.setattr(played.encoder, "context", chosen)
        monkeypatch.setattr(played.decoder, "forward", lambda x, asked: given.append((x, asked)))
        played.predict(marks, mask, numbers_of(mask))
        ((x, asked),) = given
        assert x[~mask].equal(marks[~mask])
        assert x[mask].abs().max() < 0.06
        assert x[mask].std().item() == pytest.approx(0.01, rel=0.1)
        assert asked.equal(numbers_of(mask))


class TestLoss:
    def test_one_mask_is_the_plain_way(self):
        """Item by item and frame by frame, as the papers' formulas read."""
        played, whole = method(masks=1, top=2).eval(), batch()
        torch.manual_seed(5)
        values = played(whole)
        torch.manual_seed(5)
        mask = block_mask(3, FRAMES, 0.5, 5, 0.05)
        noise = 0.01 * torch.randn(3, FRAMES, DIM, dtype=torch.float64)
        loss, count = 0.0, 0
        for item in range(3):
            features = played.encoder.features(whole.views[0, item : item + 1])
            outputs = played.teacher.feed_forward(features)[-2:]
            y = sum(((o - o.mean(1)) / (o.var(1, correction=0) + 1e-5).sqrt())[0] for o in outputs)
            kept = [f for f in range(FRAMES) if not mask[item, f]]
            context = played.encoder.context(features, keep=torch.tensor([kept]))[-1][0]
            x = noise[item].clone()
            for place, f in enumerate(kept):
                x[f] = context[place]
            for convolution in played.decoder.convolutions:
                z = convolution(x.T[None])[0].T
                z = functional.gelu(
                    (z - z.mean(1, True)) / (z.var(1, False) + 1e-5)[:, None].sqrt()
                )
                x = x + z  # both are 32 wide
            for f in range(FRAMES):
                if mask[item, f]:
                    loss += (played.decoder.out(x[f]) - y[f] / 2).square().sum() / DIM**0.5
                    count += 1
        torch.testing.assert_close(values["loss"], loss / count)

    def test_several_masks_are_the_mean_of_each(self, monkeypatch):
        monkeypatch.setattr(data2vec2, "_NOISE", 0.0)
        played, whole = method(masks=3).eval(), batch()
        mask = played.mask(9, FRAMES)
        monkeypatch.setattr(played, "mask", lambda rows, frames: mask)
        together = played(whole)["loss"]
        played.masks, each = 1, []
        for number in range(3):
            monkeypatch.setattr(played, "mask", lambda rows, frames, n=number: mask[n::3])
            each.append(played(whole)["loss"])
        torch.testing.assert_close(together, torch.stack(each).mean())

    def test_knowing_nothing_costs_the_variance(self):
        """A sum over channels, over the root of D: sqrt(D) times the mean square of the targets."""
        played = method().eval()
        torch.nn.init.zeros_(played.decoder.out.weight)
        torch.nn.init.zeros_(played.decoder.out.bias)
        torch.manual_seed(0)
        loss = played(batch())["loss"].item()
        y = played.targets(played.encoder.features(batch().views[0]))
        assert loss == pytest.approx(DIM**0.5 * y.square().mean().item(), rel=0.1)

    @pytest.mark.parametrize("arguments", [{}, DATA2VEC1])
    def test_falls(self, arguments):
        t = torch.arange(16000, dtype=torch.float64) / 8000
        rate = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)[:, None]
        tone = (500 * rate * t).sin() * (1 + (6 * rate * t).sin())  # what comes can be told
        swelling = Batch(0.1 * tone[None, :, None].float(), torch.arange(3))
        played = method(decay=(1.0, 1.0), **{"masks": 1, **arguments})
        losses = train(played.float(), 40, 3e-3, batches=[swelling])
        assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def train(played: Data2Vec2, steps: int, lr=1e-3, first=0, optimiser=None, batches=None):
    """As the loop does, with all random numbers drawn from the step's number."""
    batches = batches or [batch(seed=0), batch(seed=1)]
    optimiser = optimiser or Optim("adamw", lr=lr).build(played, 3)
    losses = []
    for step in range(first, first + steps):
        torch.manual_seed(step)
        loss = played.train()(batches[step % len(batches)])["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        played.after_step((step + 1) / 8)
        losses.append(loss.item())
    return losses


class TestState:
    @pytest.mark.parametrize("arguments", [{}, DATA2VEC1])
    def test_going_on_is_exact(self, arguments):
        played = method(encoder(dropout=0.1, layer_drop=0.1), **arguments)
        optimiser = Optim("adamw").build(played, 3)
        train(played, 3, optimiser=optimiser)
        file = io.BytesIO()
        torch.save({"method": played.state_dict(), "optimiser": optimiser.state_dict()}, file)
        train(played, 3, first=3, optimiser=optimiser)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        again = build(describe(played)).double()
        other = Optim("adamw").build(again, 3)
        again.load_state_dict(state["method"])
        other.load_state_dict(state["optimiser"])
        train(again, 3, first=3, optimiser=other)
        for name, tensor in played.state_dict().items():
            assert tensor.equal(again.state_dict()[name]), name

    def test_a_copy_is_the_same_and_on_its_own(self):
        played = method()
        other = copy.deepcopy(played)
        assert train(played, 2) == train(other, 2)
        its = {id(p) for p in other.teacher.parameters()}
        assert not its & {id(p) for p in played.parameters()}

    def test_trains_in_the_loop(self, tones, tmp_path):
        torch.manual_seed(0)
        played = Data2Vec2(encoder(), masks=2, decoder_dim=32)
        settings = Train(6, 4, log_every=2, watch_every=3)
        run = pretrain(
            tones, tmp_path, played, Chain("none"), Optim("adamw"), settings, progress=False
        )
        assert run.encoder().embed(torch.zeros(1, 1, 16000)).shape == (1, DIM)
        line = run.events("step")[-1]
        assert line["target_std"] > 0
        assert line["prediction_std"] > 0
        state = torch.load(tmp_path / "checkpoint", weights_only=True)["method"]
        for name, tensor in played.teacher.state_dict().items():
            assert state[f"teacher.{name}"].equal(tensor)


class TestArguments:
    def test_what_cannot_be_is_refused(self):
        with pytest.raises(ValueError, match="contextual"):
            Data2Vec2(MelPatch(8000, seconds=1.0))
        with pytest.raises(ValueError, match="at least 1"):
            Data2Vec2(encoder(), masks=0)
        with pytest.raises(ValueError, match="decay"):
            Data2Vec2(encoder(), decay=(0.9, 1.1))
        with pytest.raises(ValueError, match="hide vector"):
            Data2Vec2(encoder(), decoder_depth=0)
        with pytest.raises(ValueError, match="multiples"):
            Data2Vec2(encoder(), decoder_dim=40)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ({"p": 0.999}, f"of {FRAMES} frames, blocks of 5 and a share of 0.999 hide all"),
            ({"p": 0.0}, "hide all or none"),
            ({"p": 2.0}, "hide all or none"),
            ({"length": 64}, "hide all or none"),
            ({"length": 0}, r"--method.length must be at least 1"),
            ({"hide": "vector", "length": FRAMES}, f"leave nothing to see of excerpts of {FRAMES}"),
            ({"hide": "vector", "p": 0.0}, r"--method.p must be over 0"),
            ({"hide": "both"}, r"--method.hide is one of drop, vector"),
            ({"top": 0}, r"--method.top must be at least 1"),
            ({"adjust": -1.0}, r"--method.adjust must be at least 0"),
            ({"rise": -1.0}, r"--method.rise must be at least 0"),
            ({"decay": (0.9,)}, "decay"),
            ({"decoder_dim": 0}, r"--method.decoder_dim must be"),
            ({"decoder_depth": -1}, r"--method.decoder_depth must be at least 0"),
        ],
    )
    def test_what_cannot_be_is_refused_when_it_is_built(self, arguments, why):
        with pytest.raises(ValueError, match=why):
            Data2Vec2(encoder(), **arguments)

    @pytest.mark.parametrize("hide", ["drop", "vector"])
    def test_what_is_not_refused_has_something_to_hide_and_to_see(self, hide):
        made = Data2Vec2(encoder(), hide=hide, p=0.9, length=FRAMES - 1, decoder_dim=32)
        hidden = made.mask(4, FRAMES).sum(1)
        assert ((hidden > 0) & (hidden < FRAMES)).all()

    def test_the_published_recipes_are_the_papers(self):
        with torch.device("meta"):
            made = recipes.recipe("data2vec2")
        played, optim = made["method"], made["optim"]
        assert (played.masks, played.p, played.length, played.adjust) == (8, 0.5, 5, 0.05)
        assert (played.decay, played.top, made["train"].steps) == ((0.999, 0.99999), 8, 400_000)
        assert played.rise * 400_000 == 75_000
        assert (optim.peak(1), optim.betas, optim.eps) == (7.5e-4, (0.9, 0.98), 1e-6)
        assert optim.warmup * 400_000 == 8_000
        convolutions = 7 * (768 // 16) * 384 + 384 + 3 * (7 * (384 // 16) * 384 + 384)
        decoder = sum(p.numel() for p in played.decoder.parameters())
        assert decoder == convolutions + 384 * 768 + 768
        with torch.device("meta"):
            played = recipes.recipe("music2vec")["method"]
        assert (played.masks, played.hide, played.p, played.length) == (1, "vector", 0.65, 10)
        assert (played.decay, played.rise * 400_000) == ((0.999, 0.9999), 30_000)
        assert played.encoder.window == 480_000
