"""Makes `twistd echod` known. Twisted loads this for every twistd: it imports nothing of echod's."""

from twisted.application.service import ServiceMaker

echod = ServiceMaker("echod", "echod.tap", "An echo daemon on every kind of socket.", "echod")
