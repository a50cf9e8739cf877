"""The app: a file or folder for each tab, each with `build(forge)`; app.py puts them together. No other package
imports gradio.

Handlers are thin: they turn widget values into a call of a service, and its result into widget values.
"""
