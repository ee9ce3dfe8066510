import numpy as np
import pytest

from lerac.study.data.audio.augment import Augmentations
from lerac.study.errors import StudyError

NONE = dict.fromkeys(["noise", "shift", "speed", "mixup", "mask"], 0)


def only(**settings):
    return Augmentations.of({**NONE, **settings})


def random(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def wave():
    return np.sin(np.arange(8000) * 0.2).astype(np.float32)


def test_nothing_is_changed_with_probability_0(wave):
    nothing = only()
    picture = random().uniform(size=(128, 50)).astype(np.float32)
    assert np.array_equal(nothing.of_wave(wave, random()), wave)
    assert np.array_equal(nothing.of_picture(picture, random()), picture)
    assert nothing.share(random()) == 1


def test_every_augmentation_keeps_length_and_type_and_leaves_the_original(wave):
    before = wave.copy()
    for name in ("noise", "shift", "speed"):
        changed = only(**{name: 1.0}).of_wave(wave, random())
        assert changed.shape == wave.shape
        assert changed.dtype == np.float32
        assert not np.array_equal(changed, wave)
        assert np.array_equal(wave, before)
        assert np.array_equal(changed, only(**{name: 1.0}).of_wave(wave, random()))


@pytest.mark.parametrize("decibels", [0, 20])
def test_noise_has_the_power_that_is_said(wave, decibels):
    noise = only(noise=1, noise_db=[decibels, decibels]).of_wave(wave, random()) - wave
    assert abs(10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) - decibels) < 0.3
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(len(noise))


def test_silence_gets_no_noise():
    assert not only(noise=1).of_wave(np.zeros(100, np.float32), random()).any()


def test_shift_rolls_at_most_as_far_as_said():
    ramp = np.arange(1000, dtype=np.float32)
    far = {int(only(shift=1, shift_most=0.1).of_wave(ramp, random(seed))[0]) for seed in range(400)}
    offsets = {(1000 - first) % 1000 for first in far}
    assert offsets <= {*range(101), *range(900, 1000)}
    assert len(offsets) > 150


def test_speed_changes_the_pitch():
    tone = np.sin(2 * np.pi * 0.05 * np.arange(8000)).astype(np.float32)
    pitches = []
    for seed in range(40):
        heard = only(speed=1, speed_most=0.2).of_wave(tone, random(seed))[:5000]
        pitches.append(np.abs(np.fft.rfft(heard)).argmax() / 5000 / 0.05)
    assert min(pitches) > 0.79
    assert max(pitches) < 1.21
    assert max(pitches) - min(pitches) > 0.25
    slow = only(speed=1, speed_most=0.0).of_wave(tone, random())
    assert np.array_equal(slow, tone)


def test_masks_are_one_span_of_bands_and_one_of_columns():
    picture = np.ones((128, 200), np.float32)
    widths = set()
    for seed in range(300):
        masked = only(mask=1, mask_bands=16, mask_columns=0.1).of_picture(picture, random(seed))
        bands, columns = ~masked.any(axis=1), ~masked.any(axis=0)
        assert np.array_equal(masked == 0, bands[:, None] | columns)
        for span in (bands, columns):
            assert np.abs(np.diff(np.concatenate([[0], span.astype(int), [0]]))).sum() in (0, 2)
        widths.add((int(bands.sum()), int(columns.sum())))
    assert {width for width, _ in widths} == set(range(17))
    assert {width for _, width in widths} == set(range(21))
    assert picture.all()
    assert not only(mask=1, mask_bands=999, mask_columns=1.0).of_picture(picture[:3, :2], random(1)).all()


def test_shares_follow_their_distribution():
    shares = np.array([only(mixup=1, mixup_alpha=0.5).share(random(seed)) for seed in range(2000)])
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 0.5) < 0.04
    assert abs(shares.var() - 0.125) < 0.01  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_probabilities_are_kept(wave):
    changed = sum(not np.array_equal(only(shift=0.3).of_wave(wave, random(s)), wave) for s in range(400))
    assert 80 < changed < 160


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"echo": 1}, "augment.echo is unknown; there are noise, noise_db, shift"),
        ({"noise": 1.5}, r"augment.noise must be in \[0, 1\], got 1.5"),
        ({"noise": "0.5"}, "augment.noise must be like 0.5, got '0.5'"),
        ({"noise": True}, "augment.noise must be like 0.5, got True"),
        ({"shift_most": -0.1}, r"augment.shift_most must be in \[0, 1\]"),
        ({"speed_most": 1}, r"augment.speed_most must be in \[0, 1\), got 1"),
        ({"noise_db": 10.0}, "augment.noise_db must be like"),
        ({"noise_db": [30, 10]}, "augment.noise_db must be the least and the greatest"),
        ({"noise_db": [10, float("inf")]}, "augment.noise_db must be finite"),
        ({"mixup_alpha": 0}, "augment.mixup_alpha must be positive, got 0"),
        ({"mask_bands": 2.5}, "augment.mask_bands must be like 16, got 2.5"),
        ({"mask_bands": -1}, "augment.mask_bands must be 0 or more, got -1"),
        ({"mask_columns": float("nan")}, "augment.mask_columns must be finite"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(StudyError, match=message):
        Augmentations.of(settings)
