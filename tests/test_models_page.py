"""What models/README.md shows of models that a team has already is what is read."""

import re
import tomllib
from pathlib import Path

from farthing import Scorer
from farthing.scoring.column_bundle import ColumnManifest
from tests.column_factory import write_column_bundle

PAGE = (Path(__file__).parents[1] / "models" / "README.md").read_text()
(MANIFEST,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_manifest_on_the_page_has_ten_lines_and_serves(tmp_path):
    assert len(MANIFEST.splitlines()) == 10
    assert ColumnManifest.model_validate(tomllib.loads(MANIFEST)).cut == 0.4
    (event,) = re.findall(r"echo '(.*)' \| farthing score churn", PAGE)
    scored = Scorer.load(write_column_bundle(tmp_path / "churn", manifest=MANIFEST)).score_events([event.encode()])
    assert scored.labels == ("churn",)
