"""Features agree with librosa on real music, and are finite on silence."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

import antiphon
from antiphon import audio
from antiphon.features import MFCC, LogMel, delta, mel_filters


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    track = antiphon.open("demo").tracks[0]
    return audio.read(track.path, 22050, start=5.0, seconds=6.0)


@pytest.mark.parametrize(("rate", "n_fft", "bands"), [(16000, 1024, 96), (22050, 2048, 128)])
def test_mel_filters_are_librosas(rate, n_fft, bands):
    ours = mel_filters(rate, n_fft, bands)
    np.testing.assert_allclose(
        ours.T, librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands), atol=1e-7
    )


def test_log_mel_is_librosas(music):
    ours = LogMel(22050, 96, 1024, 256)(torch.from_numpy(music)[None, None])[0].numpy()
    theirs = librosa.feature.melspectrogram(
        y=music, sr=22050, n_fft=1024, hop_length=256, n_mels=96, pad_mode="constant"
    )
    np.testing.assert_allclose(ours.T, np.log(np.maximum(theirs, 1e-10)), atol=2e-3)


def test_mfcc_is_librosas(music):
    ours = MFCC(22050)(torch.from_numpy(music)[None, None])[0].numpy()
    mel = librosa.feature.melspectrogram(y=music, sr=22050, pad_mode="constant")
    theirs = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=20)
    np.testing.assert_allclose(ours.T, theirs, atol=0.1)


@pytest.mark.parametrize("feature", [LogMel(16000), MFCC(16000)])
def test_silence_and_frames(feature):
    for samples in (feature.hop * 10, feature.hop * 10 + 1, feature.hop * 11 - 1):
        frames = feature(torch.zeros(2, 1, samples))
        assert frames.shape == (2, 1 + samples // feature.hop, feature.dim)
        assert frames.isfinite().all()


def test_a_tone_is_in_its_band():
    rate, hz = 16000, 1000.0
    tone = torch.sin(2 * torch.pi * hz * torch.arange(rate) / rate)[None, None]
    edges = librosa.mel_frequencies(n_mels=98, fmax=rate / 2)
    band = LogMel(rate)(tone)[0, 20].argmax().item()
    assert edges[band] < hz < edges[band + 2]


def test_delta():
    assert delta(torch.tensor([[[1.0], [4.0], [2.0]]])).tolist() == [[[3.0], [-2.0]]]
