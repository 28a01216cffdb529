"""The demo: `python app.py` here, or as a Hugging Face Space. Everything it shows is laid out in ui/."""

from ui.page import build, serve

demo = build()

if __name__ == "__main__":
    serve(demo)
