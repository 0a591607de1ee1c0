"""Sanctions lists of invented people and firms, in the forms in which the public ones come."""

import io
from collections.abc import Sequence

from lending.list_files import Source

NONE = "-0- "

SDN_CSV = """\
101,"VELTHORN, Aurelio Pasco","individual","INVENTED1] [INVENTED2",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,"DOB 28 Jul 1963; alt. DOB circa 1965; POB Arvale, Portugal; nationality Portugal; Gender Male; a.k.a. 'EL BARQUERO'."
102,"GLASS HERON SHIPPING LTD.",-0- ,"INVENTED1",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- \r
103,"HERON'S NEST","vessel","INVENTED1",-0- ,"A1B2",-0- ,-0- ,-0- ,"Panama",-0- ,"Vessel Registration Identification IMO 0000001."
\x1a"""  # noqa: E501  as long as the real ones
ALT_CSV = """\
101,9001,"aka","VELTORN, Aurelio",-0-
102,9002,"fka","GLASS HERON LINES",-0-
"""
ADD_CSV = """\
101,8001,-0- ,"Lisbon","Portugal",-0-
102,8002,"1 Quay Street","Pyongyang","Korea, North",-0-
103,8003,-0- ,-0- ,-0- ,-0-
"""
SDN_XML = """\
<?xml version="1.0" standalone="yes"?>
<sdnList xmlns="https://sanctionslistservice.ofac.treas.gov/api/PublicationPreview/exports/XML">
  <publshInformation><Publish_Date>11/20/2026</Publish_Date><Record_Count>2</Record_Count></publshInformation>
  <sdnEntry>
    <uid>101</uid><firstName>Aurelio Pasco</firstName><lastName>VELTHORN</lastName><sdnType>Individual</sdnType>
    <programList><program>INVENTED1</program><program>INVENTED2</program></programList>
    <akaList>
      <aka><uid>9001</uid><type>a.k.a.</type><category>strong</category>
        <lastName>VELTORN</lastName><firstName>Aurelio</firstName></aka>
      <aka><uid>9009</uid><type>a.k.a.</type><category>weak</category><lastName>EL BARQUERO</lastName></aka>
    </akaList>
    <addressList><address><uid>8001</uid><city>Lisbon</city><country>Portugal</country></address></addressList>
    <dateOfBirthList>
      <dateOfBirthItem><uid>1</uid><dateOfBirth>28 Jul 1963</dateOfBirth><mainEntry>true</mainEntry></dateOfBirthItem>
      <dateOfBirthItem><uid>2</uid><dateOfBirth>circa 1965</dateOfBirth><mainEntry>false</mainEntry></dateOfBirthItem>
    </dateOfBirthList>
  </sdnEntry>
  <sdnEntry>
    <uid>102</uid><lastName>GLASS HERON SHIPPING LTD.</lastName><sdnType>Entity</sdnType>
    <programList><program>INVENTED1</program></programList>
    <akaList><aka><uid>9002</uid><type>f.k.a.</type><category>strong</category>
      <lastName>GLASS HERON LINES</lastName></aka></akaList>
    <addressList><address><uid>8002</uid><country>Korea, North</country></address></addressList>
  </sdnEntry>
</sdnList>
"""
EU_CSV = """\
\ufefffileGenerationDate;Entity_LogicalId;Entity_Remark;Entity_SubjectType;Entity_SubjectType_ClassificationCode;\
Entity_Regulation_Programme;NameAlias_LastName;NameAlias_FirstName;NameAlias_MiddleName;NameAlias_WholeName;\
Address_CountryIso2Code;BirthDate_BirthDate;BirthDate_Year;BirthDate_YearRangeFrom;BirthDate_YearRangeTo;\
BirthDate_Circa;BirthDate_CalendarType;Citizenship_CountryIso2Code
20/11/2026;501;An invented person;P;person;INV;;;;Οδυσσέας Καραβέλης;;;;;;;;
20/11/2026;501;An invented person;P;person;INV;Karavelis;Odysseas;;;;;;;;;;
20/11/2026;501;An invented person;P;person;INV;;;;;;;;1953;1958;true;GREGORIAN;
20/11/2026;501;An invented person;P;person;INV;;;;;;;;;;;;GR
20/11/2026;502;;E;enterprise;INV;;;;"Kestrel; Moor Trading";KP;;;;;;;
"""
EU_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<export xmlns="http://eu.europa.ec/fpi/fsd/export" generationDate="2026-11-20T17:11:38.757+01:00" globalFileId="1">
  <sanctionEntity designationDetails="" unitedNationId="" euReferenceNumber="EU.1.1" logicalId="501">
    <remark>An invented person</remark>
    <regulation regulationType="regulation" programme="INV" logicalId="1"/>
    <subjectType code="person" classificationCode="P"/>
    <nameAlias firstName="" middleName="" lastName="" wholeName="Οδυσσέας Καραβέλης" strong="true" logicalId="2"/>
    <nameAlias firstName="Odysseas" middleName="" lastName="Karavelis" wholeName="" strong="false" logicalId="3"/>
    <citizenship countryIso2Code="GR" countryDescription="GREECE" logicalId="4"/>
    <birthdate circa="true" calendarType="GREGORIAN" yearRangeFrom="1953" yearRangeTo="1958" countryIso2Code="00"/>
  </sanctionEntity>
  <sanctionEntity euReferenceNumber="EU.1.2" logicalId="502">
    <subjectType code="enterprise" classificationCode="E"/>
    <nameAlias wholeName="Kestrel; Moor Trading" strong="true" logicalId="5"/>
    <address countryIso2Code="KP" countryDescription="NORTH KOREA"/>
    <regulation programme="INV"/>
  </sanctionEntity>
</export>
"""


def source(name: str, text: str | bytes) -> Source:
    """Return a file of some content."""
    return Source(name, io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def ofac(sdn: str = SDN_CSV, alt: str = ALT_CSV, add: str = ADD_CSV) -> Sequence[Source]:
    """Return the three files of the SDN list."""
    return [source("sdn.csv", sdn), source("alt.csv", alt), source("add.csv", add)]


def sdn_csv(*entries: tuple[int, str, str], remarks: str = NONE) -> str:
    """Return an sdn.csv of entries: number, name, kind."""
    rows = (
        ",".join([str(ref), f'"{name}"', f'"{kind}"' if kind else NONE, '"INV"', *[NONE] * 7, f'"{remarks}"'])
        for ref, name, kind in entries
    )
    return "\n".join(rows) + "\n"
