"""The page's look: neutral greys, white sheets, thin lines and one blue. Contrast is WCAG AA in light and in dark."""

from gradio.themes import Base, colors

INK, INK_DARK = "#1c1c1f", "#e8e8ea"
BLUE, BLUE_PRESSED = "#2155d6", "#1b47b5"
FONT, MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # the visitor's own: nothing is fetched


def theme() -> Base:
    """The theme; style.css takes its colours from it, and so does every part of gradio's."""
    base = Base(
        primary_hue=colors.blue, secondary_hue=colors.blue, neutral_hue="zinc", font=FONT, font_mono=MONO,
        spacing_size="sm", radius_size="sm", text_size="sm",
    )  # fmt: skip
    return base.set(**_surfaces(), **_text(), **_inputs(), **_buttons())


def _surfaces() -> dict[str, str]:
    return _both(
        body_background_fill=("#fbfbfa", "#101113"),
        background_fill_primary=("#ffffff", "#17181b"),
        background_fill_secondary=("#f3f3f1", "#1f2125"),
        block_background_fill=("transparent", "transparent"),
        border_color_primary=("#e3e3e1", "#2c2e33"),
        color_accent_soft=("#eef3fe", "#1b2740"),
    ) | dict(
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        form_gap_width="0px",
        layout_gap="12px",
        color_accent=BLUE,
    )


def _text() -> dict[str, str]:
    labels = _both(
        block_label_background_fill=("transparent", "transparent"),
        block_title_background_fill=("transparent", "transparent"),
        block_title_text_color=("*body_text_color", "*body_text_color"),
        body_text_color=(INK, INK_DARK),
        body_text_color_subdued=("#5c5f66", "#a2a5ad"),
        link_text_color=("#1d4ed8", "#8ab4ff"),
    )
    plain = dict(
        block_title_text_weight="600",
        block_title_text_size="13px",
        block_title_padding="0px",
        block_title_border_width="0px",
        section_header_text_weight="600",
    )
    return labels | plain


def _inputs() -> dict[str, str]:
    return _both(
        input_background_fill=("#ffffff", "#17181b"),
        input_border_color=("#d4d4d2", "#383b41"),
        slider_color=(BLUE, "#8ab4ff"),
    ) | dict(input_border_width="1px")


def _buttons() -> dict[str, str]:
    return _both(
        button_primary_background_fill=(BLUE, "#2f62e0"),
        button_primary_background_fill_hover=(BLUE_PRESSED, BLUE),
        button_primary_text_color=("white", "white"),
        button_secondary_background_fill=("#ffffff", "#1f2125"),
        button_secondary_border_color=("#d4d4d2", "#383b41"),
    ) | dict(button_border_width="1px")


def _both(**pairs: tuple[str, str]) -> dict[str, str]:
    """A light and a dark value for each setting."""
    return {key + end: value for key, pair in pairs.items() for end, value in zip(("", "_dark"), pair, strict=True)}
