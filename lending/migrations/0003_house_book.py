"""The book of what belongs to no loan."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("lending", "0002_guards")]

    operations = [migrations.RunSQL("INSERT INTO lending_book (code, name) VALUES ('house', 'House')")]
