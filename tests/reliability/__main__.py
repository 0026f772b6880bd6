"""Write docs/reliability.md."""

from tests.reliability.promises import PAGE, page

PAGE.write_text(page())
