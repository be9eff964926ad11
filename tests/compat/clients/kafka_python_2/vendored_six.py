"""Lets kafka-python 2.0.2 be imported by Python 3.12 and newer.

The copy of six inside it finds its lazy modules by an interface that Python 3.12 took away; a newer six in their
place is what everyone who still runs this version does.
"""

import sys

import six

sys.modules.setdefault("kafka.vendor.six.moves", six.moves)
