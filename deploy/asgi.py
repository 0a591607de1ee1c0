import gc
import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

# Static files are read from disk by whitenoise, which is synchronous: each is read whole, in a thread. Nothing is lost
# by that, and the live lines, which would be, are asynchronous.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators", category=Warning)

application = get_asgi_application()

# What is loaded by now stays: a full collection that looks at it again holds up whichever request it falls on.
gc.collect()
gc.freeze()
