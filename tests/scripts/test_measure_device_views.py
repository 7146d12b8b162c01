import json

import pytest
from measure_device_views import main


@pytest.mark.slow
def test_views_of_rendered_images_differ_by_what_is_promised(capsys):
    assert main(["--images", "2", "--draws", "4", "--json"]) == 0
    rows = {(row["method"], row["decoded"]): row for row in json.loads(capsys.readouterr().out)["views"]}
    for method, views in (("simclr", 16), ("dino", 64)):
        assert rows[method, "whole"]["views"] == views
        assert rows[method, "whole"]["worst"] <= 0.3
        assert rows[method, "1/2 of the JPEG"]["mean"] <= 1.2
        assert sum(row["views"] for (found, way), row in rows.items() if found == method and way != "whole") == views
        assert rows[method, "whole"]["worst_image"] in ("rendered 0", "rendered 1")
