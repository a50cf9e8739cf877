"""Shared by all tabs: HTML, charts, widgets of settings, metrics, and how handlers are attached."""
