"""The charts of the site, as short SVG text.

We write the SVG ourselves: matplotlib takes 100 ms and 30 KB for each figure, and a site has a thousand runs.
A chart scales to its place by its viewBox. Its text has the colour of the page around it, and its own colours can
be read on a light and on a dark page, also by people who see colours differently. Foreign text is escaped.
Values that an axis cannot show, such as NaN, are left out, and the chart says how many.
"""

from bench.report.site.charts.drawing import as_file
from bench.report.site.charts.intervals import Interval, interval_chart
from bench.report.site.charts.lines import Series, line_chart
from bench.report.site.charts.scatter import Dot, pareto, scatter_chart

__all__ = ["Dot", "Interval", "Series", "as_file", "interval_chart", "line_chart", "pareto", "scatter_chart"]
