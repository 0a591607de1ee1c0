"""Day first, as everywhere on these pages; 24 hours, UTC."""

DATE_FORMAT, DATETIME_FORMAT, TIME_FORMAT = "d M Y", "d M Y H:i:s", "H:i:s"
SHORT_DATE_FORMAT, SHORT_DATETIME_FORMAT = "d M Y", "d M Y H:i"
