from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    account = models.CharField(max_length=40)
    tier = models.CharField(max_length=20)


class Invoice(models.Model):
    account = models.CharField(max_length=40)
    number = models.CharField(max_length=20)
    customer = models.CharField(max_length=80)
    issued = models.DateField()
    due = models.DateField()
    status = models.CharField(max_length=20)
    net = models.IntegerField()  # pence, as all sums
    vat = models.IntegerField()
    total = models.IntegerField()
    lines = models.JSONField()
