"""Reports: records compiled into tables and figures."""
