"""What the sales wall says, in English and in Bulgarian."""

from collections.abc import Mapping
from typing import NamedTuple

from salesfx.kpi import CATALOGUE


class WallWords(NamedTuple):
    """The sales wall in one language."""

    uid: str
    title: str
    description: str
    datasource: str
    job: str
    others: str
    definitions: Mapping[str, str]
    """What each metric of the catalogue counts, in one sentence, by its name."""
    against: str
    """Sentence on the comparison with the same days of the last month."""
    leads: str
    qualified: str
    conversion: str
    booked: str
    leads_goal: str
    qualified_goal: str
    conversion_goal: str
    booked_goal: str
    goal_definition: str
    goal_names: Mapping[str, str]
    """What target, pace and the ends of the forecast are called."""
    flow: str
    flow_definition: str
    states: Mapping[str, str]
    """What each state of the lead flow is called."""
    last_event: str
    last_event_definition: str
    value: str
    conversion_definition: str
    conversion_of_last: str
    cohort: str
    cohort_definition: str
    planned: str
    planned_definition: str
    categories: Mapping[str, str]
    rest: str
    leads_by_month: str
    qualified_by_month: str
    conversion_by_month: str
    sales_by_month: str
    sales_definition: str
    conversion_name: str
    cohort_name: str
    planned_name: str


ENGLISH = WallWords(
    uid="salesfx-wall",
    title="Sales wall",
    description="The four sales KPIs: this month so far, and thirteen months.",
    datasource="Data source",
    job="Job",
    others="Other dashboards",
    definitions={metric.name: f"{metric.help}." for metric in CATALOGUE},
    against="So far this month; beside it the change against the same days of last month.",
    leads="Lead flow this month",
    qualified="Qualified leads this month",
    conversion="Conversion this month",
    booked="Booked sales this month, ${currency}",
    leads_goal="Target and forecast of leads",
    qualified_goal="Target and forecast of qualified leads",
    conversion_goal="Target and forecast of conversion",
    booked_goal="Target and forecast of booked sales, ${currency}",
    goal_definition="Target of the month; pace, which is the share of the target that goes with the working time gone; and "
    "forecast to the month's end, which four of five months should end within. What is not set or not known is missing.",
    goal_names={"target": "Target", "pace": "Pace", "low": "Forecast, low", "high": "Forecast, high"},
    flow="Lead flow is",
    flow_definition="Whether fewer leads come than chance explains, by what is usual at these days and hours.",
    states={
        "ok": "as usual",
        "low": "low",
        "silent": "silent",
        "too_little_evidence": "too few to tell",
        "feed_broken": "feed broken",
    },
    last_event="Last event",
    last_event_definition="Time since the last event got into Kafka: how old these numbers may be.",
    value="Value of qualified leads, ${currency}",
    conversion_definition="New customers of the month divided by its qualified leads, so far.",
    conversion_of_last="Same days last month",
    cohort="Bought by now",
    cohort_definition="Share of the leads qualified this month that have a won deal by now.",
    planned="Still planned this month, ${currency}",
    planned_definition="By category.",
    categories={"new_account": "New accounts", "expansion": "Expansion", "returning": "Returning"},
    rest="all others",
    leads_by_month="Leads by month and source",
    qualified_by_month="Qualified leads by month",
    conversion_by_month="Conversion by month",
    sales_by_month="Booked and planned sales by month, ${currency}",
    sales_definition="Booked by category; planned is what is expected to close this month and in the three to come.",
    conversion_name="New customers / qualified leads",
    cohort_name="Qualified then, bought by now",
    planned_name="Planned",
)

BULGARIAN = WallWords(
    uid="salesfx-wall-bg",
    title="Табло на продажбите",
    description="Четирите показателя на продажбите: от началото на месеца и за тринадесет месеца.",
    datasource="Източник на данни",
    job="Задача",
    others="Други табла",
    definitions={
        "leads": "Новите запитвания, постъпили през месеца.",
        "qualified_leads": "Запитванията, чиято първа оферта по установена нужда, неизпратена масово, е от този месец.",
        "qualified_leads_value": "Стойността на квалифицираните запитвания за месеца по последната отговаряща на условията "
        "оферта на всяко, в отчетната валута.",
        "new_customers": "Сделките, спечелени през месеца, с които е привлечен нов клиент.",
        "cohort_customers": "Запитванията, квалифицирани през месеца, по които досега има спечелена сделка.",
        "booked_sales": "Сделките, спечелени през месеца.",
        "booked_sales_value": "Стойността на сделките, спечелени през месеца, в отчетната валута.",
        "planned_sales": "Отворените оферти, които се очаква да приключат през месеца, по една на запитване.",
        "planned_sales_value": "Стойността на отворените оферти, които се очаква да приключат през месеца, в отчетната валута.",
    },
    against="От началото на месеца; до числото е промяната спрямо същите дни на миналия месец.",
    leads="Нови запитвания този месец",
    qualified="Квалифицирани запитвания този месец",
    conversion="Конверсия този месец",
    booked="Сключени продажби този месец, ${currency}",
    leads_goal="Цел и прогноза за запитванията",
    qualified_goal="Цел и прогноза за квалифицираните",
    conversion_goal="Цел и прогноза за конверсията",
    booked_goal="Цел и прогноза за сключените продажби, ${currency}",
    goal_definition="Целта за месеца; темпът, тоест делът от целта, отговарящ на изминалото работно време; и прогнозата за "
    "края на месеца, в която би трябвало да попаднат четири от пет месеца. Каквото не е зададено или не е известно, липсва.",
    goal_names={"target": "Цел", "pace": "Темп", "low": "Прогноза, най-малко", "high": "Прогноза, най-много"},
    flow="Запитванията са",
    flow_definition="Дали идват по-малко запитвания, отколкото случайността обяснява, спрямо обичайното за тези дни и часове.",
    states={
        "ok": "както обикновено",
        "low": "малко",
        "silent": "спрели",
        "too_little_evidence": "твърде малко за преценка",
        "feed_broken": "без връзка",
    },
    last_event="Последно събитие",
    last_event_definition="Времето, откакто последното събитие е влязло в Kafka: толкова стари може да са тези числа.",
    value="Стойност на квалифицираните, ${currency}",
    conversion_definition="Новите клиенти за месеца, разделени на квалифицираните запитвания за месеца, досега.",
    conversion_of_last="Същите дни на миналия месец",
    cohort="Вече купили",
    cohort_definition="Делът на квалифицираните през този месец запитвания, по които вече има спечелена сделка.",
    planned="Още планирани за месеца, ${currency}",
    planned_definition="По категории.",
    categories={"new_account": "Нови клиенти", "expansion": "Разширения", "returning": "Върнали се"},
    rest="всички други",
    leads_by_month="Запитвания по месеци и източници",
    qualified_by_month="Квалифицирани запитвания по месеци",
    conversion_by_month="Конверсия по месеци",
    sales_by_month="Сключени и планирани продажби по месеци, ${currency}",
    sales_definition="Сключените са по категории; планирани са тези, които се очаква да приключат през този и следващите три месеца.",
    conversion_name="Нови клиенти / квалифицирани",
    cohort_name="Квалифицирани тогава, купили досега",
    planned_name="Планирани",
)
