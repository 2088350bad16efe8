"""What a worker says when a route cannot be loaded: it names the setting that is to blame."""

import pytest

from farthing.config import Settings
from farthing.errors import ConfigError
from farthing.serving.worker import Worker

ROUTE = {"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"model": {"trusted_keys": ["/nonexistent.pem"]}},
            r"^model\.trusted_keys: key /nonexistent\.pem: No such file",
        ),
        ({"route": [ROUTE | {"fields": {"nosuch": "a"}}]}, r"^route e: fields: .*nosuch"),
    ],
)
def test_an_error_in_a_key_is_not_one_in_the_map_of_fields(section, said):
    settings = Settings.model_validate({"route": [ROUTE]} | section)
    with pytest.raises(ConfigError, match=said):
        Worker(settings)._load_route(settings.route[0], lambda _: None)
