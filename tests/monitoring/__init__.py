"""The chart's alerts and dashboards as tests see them: queries, the metrics they may name, and a real Prometheus."""
