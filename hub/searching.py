"""Looking for adapters on a hub and reading their cards; what the ``search`` and ``card`` commands and the Hub screen call."""

from __future__ import annotations

from pathlib import Path

from ..core import registry
from ..core.api import Found, HubContext
from ..core.catalog.catalog import Catalog
from ..core.config import Settings
from ..core.errors import NotFound
from ..core.paths import Home
from .transfer import check_repo, hub_name, hub_settings


def search_hub(
    home: Home, words: str = "", *, base: str = "", hub: str = "huggingface", settings: Settings | None = None, limit: int = 50
) -> list[Found]:
    """Adapters on a hub.

    Args:
        words: must all occur; how a hub looks for them is its own affair.
        base: a folder, a catalog name or a Hub id; on a hub a base goes by its Hub id, where it has one.
        hub: as ``--hub`` names it.

    Raises:
        NotFound: no such hub plugin. Refused: it cannot be searched. NetworkError, TokenError: the hub does not answer.
    """
    plugin = registry.load("hubs", hub_name(hub))
    return plugin.search(" ".join(words.split()), name_on_hubs(home, base), _context(home, hub, settings), limit=limit)


def name_on_hubs(home: Home, base: str) -> str:
    """What a base is called on hubs: the Hub id of a model in the catalog, else its name; what is not in the catalog stays as given."""
    if not base:
        return ""
    try:
        model = Catalog(home).model(base)
    except NotFound:
        return base
    return model.hub_id or (Path(model.path).name if model.name == model.path else model.name)


def read_card(home: Home, repo: str, *, hub: str = "huggingface", settings: Settings | None = None) -> str:
    """The model card of ``owner/name[@revision]`` on a hub, front matter included; empty where it has none.

    Raises:
        NotFound: no such hub plugin, repository or revision. Refused: the hub shows no cards.
        NetworkError, TokenError: the hub does not answer.
    """
    name, _, revision = repo.partition("@")
    return registry.load("hubs", hub_name(hub)).card(check_repo(name), revision, _context(home, hub, settings))


def _context(home: Home, hub: str, settings: Settings | None) -> HubContext:
    return HubContext(home.root, hub_settings(hub, settings))
