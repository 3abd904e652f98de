"""Charts as SVG that stands alone: drawn here, without script, style sheet or another host. Hidden numbers are hatched boxes of one fixed size."""
