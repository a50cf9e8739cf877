"""The app: one file a tab, each `build(forge)`; app.py puts them together. Nothing else imports gradio.

Handlers are thin: they turn widgets into a call of a service and its answer into widgets.
"""
