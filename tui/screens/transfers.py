"""Dialogs that start a run: merge, push with a preview, pull."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ...core.errors import FineTUIError
from ..format import human_bytes, human_count, plural
from ..newrun import name_error
from ..widgets.fields import Field
from ..widgets.form import Form
from .base import Working
from .messages import Dialog, PickDialog

if TYPE_CHECKING:
    from ...core.api import Found


def needed(value: Any) -> str:
    """The error of an empty text."""
    return "" if value else "this is needed"


class FormDialog(Working, Dialog):
    """A few fields, a preview, and a button that starts a run in the background."""

    title_text = ""
    tall = False
    starts_at_end = True
    """Whether the cursor begins on the button: everything is chosen already."""

    def compose(self) -> ComposeResult:
        """Form, preview, keys."""
        with Vertical(classes="box -tall" if self.tall else "box") as box:
            box.border_title = self.title_text.replace("[", r"\[")
            yield Form(self.fields(), id="form", glyphs=self.app.glyphs)
            with VerticalScroll(classes="scroll", id="preview-scroll"):
                yield Static(id="preview", classes="text")
            yield Static(Content("enter change  ctrl+s do it  tab preview  esc close"), classes="keys")

    def on_mount(self) -> None:
        """Form first."""
        form = self.form
        form.styles.height = len(form.fields) + 1
        form.focus()
        if self.starts_at_end:
            form.do_last()
        self.preview()

    @property
    def form(self) -> Form:
        """The form."""
        return self.query_one("#form", Form)

    def value(self, key: str) -> Any:
        """What the form says."""
        return self.form.field(key).value

    def fields(self) -> list[Field]:
        """The rows, the button last."""
        return []

    def preview(self) -> None:
        """Show what would happen."""

    def say(self, text: Content) -> None:
        """Put text into the preview."""
        self.query_one("#preview", Static).update(text)

    def say_problem(self, problem: FineTUIError) -> None:
        """Put an error into the preview."""
        self.say(Content.assemble((problem.message, "$error"), (f"\n{problem.hint}" if problem.hint else "", "$muted")))

    def on_form_changed(self, event: Form.Changed) -> None:
        """Another preview."""
        self.preview()

    def on_form_pressed(self, event: Form.Pressed) -> None:
        """The button."""
        self.action_act("dialog.accept")

    def why_not(self, name: str) -> str:
        """Fields with errors."""
        if name != "accept":
            return ""
        return next((f"{row.label}: {row.error}" for row in self.form.fields if row.error), "")

    def launched(self, run_id: str) -> None:
        """The run exists: show it instead of the dialog."""
        self.app.look_again()
        self.app.switch_to_run(run_id)

    def text_to_copy(self) -> str:
        preview = self.query_one("#preview", Static).visual
        return getattr(preview, "plain", str(preview))


class MergeDialog(FormDialog):
    """Merge an adapter into its base."""

    def __init__(self, model: str, adapter: str) -> None:
        super().__init__()
        self.model, self.adapter = model, adapter
        self.title_text = f"Merge {Path(adapter).name}"

    def fields(self) -> list[Field]:
        """Name of the merged model, checks."""
        name = f"{Path(self.adapter).name}-merged"
        return [
            Field("name", "name", "str", name, default=name, check=lambda value: needed(value) or name_error(value)),
            Field("verify", "verify", "bool", True, default=True, note="compare its logits with the adapter's on the base"),
            Field("force", "force", "bool", False, default=False, note="although the recorded base digest differs"),
            Field("go", "Merge", "button"),
        ]

    def preview(self) -> None:
        """Where it goes."""
        target = self.app.home.models / (self.value("name") or "…")
        self.say(
            Content.assemble(
                ("base     ", "$muted"), self.model, ("\nadapter  ", "$muted"), self.adapter, ("\nwrites   ", "$muted"), str(target),
                ("\n\nThe base and the adapter stay as they are; the result is an ordinary model folder.", "$muted"),
            )
        )  # fmt: skip

    def do_accept(self) -> None:
        from .. import backend

        home, out = self.app.home, self.app.home.models / self.value("name")
        verify, force, gpus = self.value("verify"), self.value("force"), self.app.settings.gpus
        self.work(lambda: backend.start_merge(home, self.model, self.adapter, out, verify=verify, force=force, gpus=gpus), self.launched)


class HubDialog(FormDialog):
    """What push and pull share."""

    def hub_field(self, chosen: str = "") -> Field:
        """Choice of the hub, by default that of the settings."""
        from .. import backend

        return Field(
            "hub",
            "hub",
            "choice",
            chosen or self.app.settings.default_hub,
            default=self.app.settings.default_hub,
            choices=tuple(backend.hub_names()),
        )


class PushDialog(HubDialog):
    """Publish an adapter: the card and the files are shown before anything is sent."""

    tall = True

    def __init__(self, adapter: str) -> None:
        super().__init__()
        self.adapter = adapter
        self.title_text = f"Push {Path(adapter).name}"

    def fields(self) -> list[Field]:
        """Repository, hub, who may see it."""
        name = Path(self.adapter).name
        return [
            Field("repo", "repository", "str", name, default=name, note="owner/name on Hugging Face", check=needed),
            self.hub_field(),
            Field("public", "public", "bool", False, default=False, note="everybody can read it"),
            Field("pull_request", "pull request", "bool", False, default=False, note="do not write to the main branch"),
            Field("go", "Push", "button"),
        ]  # fmt: skip

    def preview(self) -> None:
        """Card and files, from the same function as ``finetui push --dry-run``."""
        from .. import backend

        hub_of_folders = str(self.value("hub")).startswith("folder")
        self.form.field("repo").note = f"a folder below {self._folder()}" if hub_of_folders else "owner/name on Hugging Face"
        button = self.form.field("go")
        button.note = "public: everybody can read it" if self.value("public") else "private"
        self.form.update_lines()
        home, repo, hub, private = self.app.home, self.value("repo"), self.value("hub"), not self.value("public")
        self.work(lambda: backend.push_plan(home, self.adapter, repo, hub, private), self._planned, failed=self.say_problem, group="plan")

    def _folder(self) -> str:
        """Where the folder hub is."""
        return str(self.value("hub")).partition(":")[2] or self.app.settings.folder_hub or str(self.app.home.root / "hub")

    def _planned(self, plan: Any) -> None:
        total = sum(file.size for file in plan.files)
        lines = [Content.styled(f"{self.app.glyphs.warning} {warning}", "$warning") for warning in plan.warnings]
        lines.append(
            Content.assemble(
                (f"{len(plan.files)} files, {human_bytes(total)}", "bold $foreground"), f", {'private' if plan.private else 'public'}"
            )
        )
        lines += [Content.assemble((f"{human_bytes(file.size):>10}  ", "$muted"), file.path) for file in plan.files]
        lines += [Content(""), Content.styled("README.md", "bold $foreground"), Content.styled(plan.card, "$muted")]
        self.say(Content("\n").join(lines))

    def do_accept(self) -> None:
        from .. import backend

        values = {key: self.value(key) for key in ("repo", "hub", "public", "pull_request")}
        home, settings = self.app.home, self.app.settings
        self.work(lambda: backend.start_push(home, settings, self.adapter, **values), self.launched)


class PullDialog(HubDialog):
    """Fetch an adapter."""

    title_text = "Pull an adapter"
    starts_at_end = False

    def __init__(self, repo: str = "", hub: str = "") -> None:
        """
        Args:
            repo: found by a search: its card is shown.
        """
        super().__init__()
        self.repo, self.hub = repo, hub
        self.tall = self.starts_at_end = bool(repo)

    def fields(self) -> list[Field]:
        """Repository and name."""
        return [
            Field("repo", "repository", "str", self.repo, default="", note="owner/name, or owner/name@revision", check=needed),
            self.hub_field(self.hub),
            Field("name", "name", "str", "", default="", note="in the catalog; empty: the repository's", check=name_error),
            Field("go", "Pull", "button"),
        ]  # fmt: skip

    def preview(self) -> None:
        """The card of a repository that a search found; of another nothing is known before it is fetched."""
        if not self.repo or self.value("repo") != self.repo:
            return self.say(Content.styled("Every file is verified before the adapter joins the catalog.", "$muted"))
        from .. import backend

        home, settings, hub = self.app.home, self.app.settings, self.value("hub")
        self.work(lambda: backend.hub_card(home, settings, self.repo, hub), self._have_card, failed=self.say_problem, group="card")

    def _have_card(self, card: tuple[dict[str, Any], str]) -> None:
        from ..cardlines import card_lines

        self.say(card_lines(*card, self.app.glyphs) if card != ({}, "") else Content.styled(f"{self.repo} has no card", "$muted"))

    def why_not(self, name: str) -> str:
        """A repository is needed."""
        if name == "accept" and not self.value("repo"):
            return "name a repository first"
        return super().why_not(name)

    def do_accept(self) -> None:
        from .. import backend

        values = {key: self.value(key) for key in ("repo", "hub", "name")}
        home, settings = self.app.home, self.app.settings
        self.work(lambda: backend.start_pull(home, settings, **values), self.launched)


class SearchDialog(HubDialog):
    """Find adapters on a hub; the chosen one opens the pull dialog with its card."""

    title_text = "Search a hub for adapters"
    starts_at_end = False

    def __init__(self, base: str = "") -> None:
        super().__init__()
        self.base = base

    def fields(self) -> list[Field]:
        """Words, base and hub."""
        return [
            Field("words", "words", "str", "", default="", note="that must all occur; empty: any"),
            Field("base", "base", "str", self.base, default="", note="a model here or a Hub id; empty: any"),
            self.hub_field(),
            Field("go", "Search", "button"),
        ]  # fmt: skip

    def preview(self) -> None:
        """Nothing is asked before the button."""
        self.say(Content.styled("Nothing is sent before you search.", "$muted"))

    def do_accept(self) -> None:
        from .. import backend

        values = {key: self.value(key) for key in ("words", "base", "hub")}
        home, settings = self.app.home, self.app.settings
        self.say(Content.styled(f"searching {values['hub']}", "$muted"))
        self.work(lambda: backend.search_hub(home, settings, **values), self._found, failed=self.say_problem, group="search")

    def _found(self, rows: list[Found]) -> None:
        hub = self.value("hub")
        if not rows:
            return self.say(Content.styled(f"no adapter found on {hub}", "$warning"))
        self.say(Content.styled(plural(len(rows), "adapter"), "$muted"))

        def chosen(repo: str | None) -> None:
            if repo:
                self.app.switch_screen(PullDialog(repo, hub))

        lines = [(row.repo, row.repo, _described(row)) for row in rows]
        self.app.push_screen(PickDialog(f"{plural(len(rows), 'adapter')} on {hub}", lines), chosen)


def _described(row: Found) -> str:
    """What tells one result from another: method, base, how often it is fetched."""
    fetched = f"{human_count(row.downloads)} downloads" if row.downloads is not None else ""
    return "  ".join(filter(None, [row.method, row.base, fetched, "private" if row.private else ""]))
