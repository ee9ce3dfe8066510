import numpy as np
import pytest
import torch

from lerac.study.data.audio.spectrogram import Spectrogram

SETTINGS = {"cremad": (16_000, 64), "esc50": (44_100, 128)}


def slaney_mel(hertz):
    """Slaney's scale: linear up to 1000 Hz, then 27 steps for a factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def slaney_hertz(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def transcription(wave, rate, hop, bands=128):
    """The paper's steps, frame by frame, in float64 and with a Fourier sum in place of a fast transform."""
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.concatenate([np.zeros(256), wave.astype(np.float64), np.zeros(256)])
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(513), np.arange(512)) / 1024)
    edges = [slaney_hertz(mel) for mel in np.linspace(0, slaney_mel(rate / 2), bands + 2)]
    columns = []
    for start in range(0, len(wave) + 1, hop):
        root = np.sqrt(np.abs(fourier @ (padded[start : start + 512] * window)))
        column = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k in range(513):
                hertz = k * rate / 1024
                height = min((hertz - low) / (middle - low), (high - hertz) / (high - middle))
                total += root[k] * max(height, 0) * 2 / (high - low)
            column.append(np.log(max(total, 1e-4)))
        columns.append(column)
    picture = np.array(columns).T
    return (picture - picture.min()) / (picture.max() - picture.min())


@pytest.mark.parametrize("name", SETTINGS)
def test_against_an_independent_transcription(name):
    rate, hop = SETTINGS[name]
    random = np.random.default_rng(0)
    wave = (0.3 * np.sin(np.arange(700) * 0.3) + 0.05 * random.standard_normal(700)).astype(np.float32)
    wave[300:] *= 0.01
    picture = Spectrogram(rate, hop)(wave)
    assert picture.shape == (128, 1 + 700 // hop)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, transcription(wave, rate, hop), atol=2e-5)


def test_against_the_transform_of_torch():
    wave = np.random.default_rng(1).standard_normal(16_000).astype(np.float32) * 0.1
    spectrogram = Spectrogram(16_000, 64)
    window = torch.hamming_window(512)
    complex_ = torch.stft(torch.tensor(wave), 1024, 64, 512, window, pad_mode="constant", return_complex=True)
    bands = torch.tensor(spectrogram._filters.toarray()) @ complex_.abs().sqrt()
    logs = bands.clamp(min=1e-4).log()
    expected = (logs - logs.min()) / (logs.max() - logs.min())
    np.testing.assert_allclose(spectrogram(wave), expected.numpy(), atol=1e-4)


def test_the_length_is_said_before():
    spectrogram = Spectrogram(16_000, 64)
    for samples in (63, 64, 65, 512, 4 * 16_000):
        assert spectrogram(np.ones(samples, np.float32)).shape[1] == spectrogram.columns(samples)
    assert spectrogram.columns(4 * 16_000) == 1001
    assert Spectrogram(44_100, 128).columns(5 * 44_100) == 1723


@pytest.mark.parametrize("loudness", [0, 1e-30, 1e-12, 1e-6, 1.0, 1e6])
def test_always_finite_and_in_range(loudness):
    wave = (loudness * np.random.default_rng(2).standard_normal(4000)).astype(np.float32)
    picture = Spectrogram(16_000, 64)(wave)
    assert np.isfinite(picture).all()
    assert picture.min() == 0
    assert picture.max() == (1 if loudness >= 1e-6 else 0)  # below the floor, it is silence


def test_loudness_does_not_matter_above_the_floor():
    wave = np.random.default_rng(3).standard_normal(4000).astype(np.float32)
    wave = np.concatenate([wave, 0.1 * wave])
    spectrogram = Spectrogram(16_000, 64, floor=1e-12)
    np.testing.assert_allclose(spectrogram(wave)[:, 5:-5], spectrogram(0.25 * wave)[:, 5:-5], atol=1e-5)


def test_a_tone_is_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    band = Spectrogram(16_000, 64)(tone)[:, 100].argmax()
    middles = [slaney_hertz(mel) for mel in np.linspace(0, slaney_mel(8000), 130)[1:-1]]
    assert abs(middles[band] - 1000) < 40


@pytest.mark.parametrize("rate", [4000, 8000, 16_000, 44_100, 48_000])
def test_no_band_is_empty(rate):
    assert (Spectrogram(rate, 64)._filters.toarray().sum(axis=1) > 0).all()
