"""The planned budget alert."""

from tests.support.terraform_state import Deployment


def test_a_budget_alert_is_sent_before_the_budget_is_spent(deployment: Deployment) -> None:
    budget = deployment.applied.one("google_billing_budget")
    thresholds = {
        (threshold["threshold_percent"], threshold["spend_basis"])
        for threshold in budget["threshold_rules"]
    }
    assert thresholds == {
        *((share, "CURRENT_SPEND") for share in (0.5, 0.9, 1)),
        (1, "FORECASTED_SPEND"),
    }
    variables = {name: variable["value"] for name, variable in deployment.plan["variables"].items()}
    assert budget["billing_account"] == variables["billing_account"]
    amount = budget["amount"][0]["specified_amount"][0]["units"]
    assert amount == {"dev": "5", "staging": "200", "prod": "500"}[variables["environment"]]
    assert budget["budget_filter"][0]["projects"] == ["projects/100000000000"]
    assert budget["budget_filter"][0]["calendar_period"] == "MONTH"
    channels = deployment.applied.of("google_monitoring_notification_channel")
    (rule,) = budget["all_updates_rule"] or [{"monitoring_notification_channels": []}]
    assert rule["monitoring_notification_channels"] == [
        channel["id"] for channel in channels.values()
    ]
