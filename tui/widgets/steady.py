"""Text that changes often."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Steady(Static):
    """Drawn again only where the text differs, and with the rest of the screen only where it takes more or fewer lines than before."""

    _said = Content("")

    def say(self, text: Content) -> None:
        """Show a text in place of the present one."""
        if text.is_same(self._said):
            return
        self._said = text
        same_height = self.size.width > 0 and text.get_height(self.styles.get_rules(), self.size.width) == self.size.height
        self.update(text, layout=not same_height)
