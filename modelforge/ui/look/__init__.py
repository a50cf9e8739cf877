"""What all tabs draw with: HTML, charts, widgets of settings, metrics in words, and how handlers are attached."""
