import itertools

from steepest.core.letters import letter
from steepest.report.style import COLOURS, TEMPLATES, colour, dash, ink, symbol


def linear(code: str) -> list[float]:
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def contrast(a: str, b: str) -> float:
    light = sorted(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


def test_no_two_of_28_strategies_look_alike() -> None:
    looks = {(colour(i), dash(i), symbol(i)) for i in range(28)}
    assert len(looks) == 28 and len({letter(i) for i in range(1000)}) == 1000


def test_letters_can_be_read_on_their_colour() -> None:
    assert all(contrast(colour(i), ink(i)) >= 4.5 for i in range(len(COLOURS)))


def test_colours_stay_apart_without_red_green_vision() -> None:
    """Simulated with the matrices of Machado et al. 2009 for full protanopia and deuteranopia, on linear RGB."""
    protanopia = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
    deuteranopia = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881))
    for matrix in (protanopia, deuteranopia):
        seen = [[sum(m * c for m, c in zip(row, linear(code), strict=True)) for row in matrix] for code in COLOURS]
        apart = [max(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in itertools.combinations(seen, 2)]
        assert min(apart) > 0.08


def test_text_in_figures_can_be_read() -> None:
    for name, paper in (("light", "#ffffff"), ("dark", "#14181d")):
        layout = TEMPLATES[name]["layout"]
        assert contrast(layout["font"]["color"], paper) > 7
        assert contrast(layout["xaxis"]["tickfont"]["color"], paper) > 4.5
