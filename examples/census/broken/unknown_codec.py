# -*- coding: klingon -*-
qapla = True
