"""The words from which the demo's customer messages are made.

Why the file exists: the project ships no data, and a demo needs some. Everything here was
written for it; the banks do not exist. `samples` combines these words by a seed.

Rules it keeps:

* Data only. In a template `[a|b]` is one of the alternatives and `{card}` a word of the country.
* What one country says differs from the next in payment systems, places, money and manners, not
  in the intent, so that a model learnt in one country is of use in another.
* `unseen` templates appear in the public test set alone: they ask for understanding, not recall.
* An aside mentions another intent than the one meant, as people do.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One thing that a customer wants.

    Attributes:
        label: the class.
        seen: templates of the institutions' rows, and of three quarters of the test set.
        unseen: templates of the other quarter.
        asides: clauses that only mention the subject, put into messages about something else.
    """

    label: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    asides: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locale:
    """One bank: how its customers write, and what they write about.

    Attributes:
        rows: how many messages it has.
        mix: weight of each intent, in the order of `INTENTS`; 0 is never seen here.
        words: what fills a slot.
    """

    id: str
    name: str
    jurisdiction: str
    rows: int
    mix: tuple[float, ...]
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]


INTENTS = (
    Intent(
        label="card_declined",
        seen=(
            "my {card} was [declined|refused|rejected] at the {shop}",
            "{shop} in {place} would not [take|accept] my {card}",
            "the [terminal|machine] said no to my {card} though there is money on the account",
            "i could not pay {amount} with the {card}, the payment [failed|did not go through]",
            "why does my {card} not work at the {shop}",
            "[twice|three times] {when} the [terminal|reader] refused my {card}",
            "the {card} is not accepted [anywhere|online] since {when}",
            "paying by {card} is blocked, I had to use cash at the {shop}",
        ),
        unseen=(
            "stood at the {shop} with a full basket and the reader just showed an error",
            "I have enough balance, yet every purchase with the {card} is turned down",
            "the cashier tried it two times and it was no good, {card} not authorised",
            "had to leave my shopping at the {shop} because the {card} would not go through",
        ),
        asides=(
            "paying at the {shop} still works",
            "the {card} was refused once but that is solved",
        ),
    ),
    Intent(
        label="card_lost",
        seen=(
            "I [lost|cannot find] my {card}, [please block it|can you stop it]",
            "my {card} was [stolen|taken] in {place} {when}",
            "someone took my [wallet|bag] with the {card} in it",
            "I left the {card} in the {shop} and it is gone",
            "please [freeze|block|disable] the {card} at once, it is [missing|gone]",
            "my {card} fell out of my pocket [on the way|somewhere] in {place}",
            "how do I report a {card} [lost|stolen]",
            "the {card} has been [missing|lost] since {when}",
        ),
        unseen=(
            "pickpockets in {place}, they have everything including the {card}",
            "no idea where my {card} is, I searched the whole flat",
            "the {card} must have dropped in a taxi, nobody should be able to use it now",
            "make sure nobody can pay with my {card}, I no longer have it",
        ),
        asides=(
            "I still have my {card} with me",
            "last year my {card} was stolen, but this is another matter",
        ),
    ),
    Intent(
        label="card_delivery",
        seen=(
            "when will my [new|replacement] {card} [arrive|come]",
            "the {card} I [ordered|asked for] {when} has not [arrived|come]",
            "I am still waiting for [the|my] [new|first] {card}",
            "[how long|how many days] does it take to send a {card} to {place}",
            "is my {card} already [in the post|sent|on its way]",
            "can I [track|follow] the delivery of my {card}",
            "the post brought everything but the [new|replacement] {card}",
            "you said the {card} would be here {when}, it is not",
        ),
        unseen=(
            "every day I look into the letter box and there is no {card}",
            "my sister got hers in {place} weeks ago, mine has yet to turn up",
            "the envelope with the {card} never reached me",
            "which day should I expect the plastic that you are posting to {place}",
        ),
        asides=(
            "the new {card} came by post {when}, thanks",
            "I am not waiting for any {card}",
        ),
    ),
    Intent(
        label="transfer_pending",
        seen=(
            "my {rail} to {person} has not [arrived|been received]",
            "I sent {amount} by {rail} {when} and it is [still pending|not there]",
            "where is the {rail} of {amount}, {person} [has nothing|did not get it]",
            "how long does a {rail} [take|need] to [arrive|reach the other bank]",
            "the {rail} has been [processing|in progress] since {when}",
            "the money left my account but {person} [is still waiting|sees nothing]",
            "my {rail} is stuck, [when does it go through|what is going on]",
            "status of my {rail} of {amount} is pending [for days|since {when}]",
        ),
        unseen=(
            "{person} keeps asking for the {amount} paid {when}, your screen says in process",
            "the landlord says nothing has come in, yet my balance is lower by {amount}",
            "does a {rail} not clear at the weekend, {person} is waiting",
            "debited {when}, not credited on the other side until now",
        ),
        asides=(
            "my last {rail} arrived within a minute",
            "the {rail} to {person} was late too, but it came",
        ),
    ),
    Intent(
        label="wrong_recipient",
        seen=(
            "I sent {amount} to the wrong [person|account|number] by {rail}",
            "I made a [mistake|typing error] in the {rail}, can you [reverse|recall] it",
            "[please cancel|please pull back] the {rail} of {amount}, wrong [account|recipient]",
            "I mixed up {person} with another contact and sent {amount}",
            "how can I get back a {rail} that went to [a stranger|the wrong number]",
            "one digit was wrong and {amount} went to somebody else",
            "can a {rail} be [reversed|undone|called back]",
            "I paid {amount} to the wrong [business|shop], I want it [back|reversed]",
        ),
        unseen=(
            "a stranger now has {amount} that was meant for {person}",
            "I was careless with the {rail} and picked the neighbour, not {person}",
            "is there a way to undo what I sent, the name on the receipt is not {person}",
            "{amount} should have gone to {person}, but I chose another name in the list",
        ),
        asides=(
            "I checked the number of {person} twice",
            "the {rail} went to the right person",
        ),
    ),
    Intent(
        label="refund_missing",
        seen=(
            "the {shop} [promised|gave me] a refund of {amount} and I do not see it",
            "my refund from the {shop} has not [arrived|shown up]",
            "I returned [the shoes|a phone|the goods] {when}, where is my [refund|money back]",
            "when will the refund of {amount} be on my {card}",
            "the order was cancelled, but the {amount} [was not refunded|did not come back]",
            "the merchant says [they refunded|it was sent back], my account shows nothing",
            "[how long|how many days] until a refund is [visible|credited]",
            "still no refund for my [ticket|booking|hotel] in {place}",
        ),
        unseen=(
            "I gave the jacket back at the {shop}, they say the money is with you",
            "the airline cancelled and owes me {amount}, nothing credited so far",
            "the seller in {place} shows me proof that {amount} was returned, I have not seen it",
            "they took the item back {when} and my balance has not moved",
        ),
        asides=(
            "the refund of the {shop} has come, thank you",
            "I do not need a refund",
        ),
    ),
    Intent(
        label="unknown_charge",
        seen=(
            "there is a [payment|charge] of {amount} that I do not [know|recognise]",
            "I did not make the payment of {amount} [at the {shop}|in {place}]",
            "someone [used|is using] my {card} [online|in {place}], that was not me",
            "what is this [debit|withdrawal] of {amount} from {when}, I never [made|allowed] it",
            "I see [a strange|an unknown] transaction of {amount} on my statement",
            "money was taken from my account [without my permission|and I do not know by whom]",
            "I want to dispute a charge of {amount} that is not mine",
            "a [shop|company] I have never heard of took {amount}",
        ),
        unseen=(
            "who is this company in {place} that helped itself to {amount}",
            "I was asleep when {amount} was spent at the {shop}, with the {card} in my drawer",
            "looks like fraud, three purchases {when} and none by me",
            "never been to {place}, but my statement says I shopped there for {amount}",
        ),
        asides=(
            "all payments on the statement are mine",
            "I know the {amount} at the {shop}, that was me",
        ),
    ),
    Intent(
        label="fee_question",
        seen=(
            "why was I charged a fee of {amount}",
            "what is the [monthly|yearly] fee for the {card}",
            "you took {amount} for [account maintenance|the statement|an SMS service], why",
            "how much does a {rail} cost",
            "is there a [fee|charge] for [taking out cash|using a machine] in {place}",
            "the [commission|bank charge] for the {rail} is too high, please explain",
            "which costs come with the {card}",
            "I was told the account is free, now there is a [service charge|fee] of {amount}",
        ),
        unseen=(
            "your price list says free and still you deduct {amount} every month",
            "what would it cost me to withdraw money in {place}",
            "could you explain the {amount} that the bank keeps on each {rail}",
            "is the {card} free of cost after the first year",
        ),
        asides=(
            "I do not mind the fee",
            "the monthly fee is fine",
        ),
    ),
    Intent(
        label="login_problem",
        seen=(
            "I cannot [log in|sign in] to the {app}",
            "I forgot my [password|passcode] for the {app}",
            "the {app} does not accept my [PIN|fingerprint|password]",
            "my access is [locked|blocked] after three [wrong attempts|tries]",
            "I do not receive the [code|SMS] to [log in|sign in]",
            "the {app} [crashes|shows an error] when I sign in",
            "how do I reset [my password|my passcode|the PIN of the {app}]",
            "I have a new phone and the {app} does not let me in",
        ),
        unseen=(
            "the {app} throws me out as soon as I type the passcode",
            "I am shut out, it keeps saying my credentials are invalid",
            "no one-time code comes, so I never see my balance in the {app}",
            "after the update the {app} does not know me any more",
        ),
        asides=(
            "the {app} works fine",
            "I had trouble to log in {when}, that is over",
        ),
    ),
    Intent(
        label="change_details",
        seen=(
            "I have moved to {place}, please [change|update] my address",
            "how do I change my [phone number|email] in the {app}",
            "my [new number|new address] is not in your [system|records]",
            "I [married|divorced] and my name has changed, what do you need",
            "please [update|correct] my [date of birth|name], it is wrong on the {document}",
            "do I have to send the {document} to change my [address|name]",
            "I want statements sent to my new [address|email]",
            "the phone number you have of me is old, [here is the new one|I want to replace it]",
        ),
        unseen=(
            "letters still go to the old flat, I live in {place} now",
            "since the wedding my surname is different, shall I bring the {document}",
            "switch my contact to another SIM, the old one is dead",
            "my name is misspelt in your letters, kindly put it right",
        ),
        asides=(
            "my address is still the same",
            "I changed my phone number {when}, you have it",
        ),
    ),
    Intent(
        label="loan_request",
        seen=(
            "I would like to [take|apply for] a loan of {amount}",
            "what is the interest on a [personal loan|car loan|home loan]",
            "can I borrow {amount} for [school fees|a motorbike|my shop]",
            "which papers do I need for a [loan|credit], is the {document} enough",
            "was my loan [approved|accepted], I applied {when}",
            "can I pay back my loan [early|in smaller instalments]",
            "how much [credit|loan] can I get with my salary",
            "I want to raise my [credit limit|overdraft] to {amount}",
        ),
        unseen=(
            "we need {amount} to repair the roof, what would the monthly instalment be",
            "do you finance a small business in {place}",
            "could I postpone this month's instalment",
            "on what terms would you lend me {amount} until next year",
        ),
        asides=(
            "I do not want a loan",
            "my loan is paid back",
        ),
    ),
    Intent(
        label="close_account",
        seen=(
            "I want to close my account",
            "please [cancel|end] my [account|contract] [at the end of the month|now]",
            "how do I [close|cancel] the account, [is there a form|do I need the {document}]",
            "I am [moving abroad|changing banks] and no longer need the account",
            "please [delete|remove] my account and [pay out|send me] the rest of {amount}",
            "close the savings account and keep [the other one|the {card}]",
            "I am not happy with you, [end my contract|close everything]",
            "what happens to my {amount} when I close the account",
        ),
        unseen=(
            "I found a better bank in {place}, goodbye, what must I sign",
            "my late father was your customer, we have to wind up his account",
            "terminate our relationship and transfer what is left to {person}",
            "I do not wish to be your customer any longer",
        ),
        asides=(
            "I do not want to leave the bank",
            "otherwise I go to another bank",
        ),
    ),
)

#        decl lost delv pend wrng refn unkn fee  logn chng loan clos
_DE_MIX = (4.0, 0.2, 3.0, 5.0, 1.0, 2.0, 0.0, 4.0, 0.2, 3.0, 0.0, 4.0)
_FR_MIX = (5.0, 4.0, 0.0, 0.2, 0.0, 4.0, 5.0, 2.0, 3.0, 1.0, 0.2, 3.0)
_BR_MIX = (0.2, 3.0, 4.0, 2.0, 5.0, 0.0, 5.0, 1.0, 4.0, 0.2, 3.0, 0.0)
_KE_MIX = (0.0, 2.0, 0.2, 4.0, 5.0, 1.0, 3.0, 4.0, 0.0, 3.0, 5.0, 0.2)
_IN_MIX = (3.0, 0.0, 4.0, 0.2, 3.0, 5.0, 1.0, 0.2, 5.0, 4.0, 2.0, 0.0)

LOCALES = (
    Locale(
        id="spree-bank",
        name="Spree Bank",
        jurisdiction="DE",
        rows=1200,
        mix=_DE_MIX,
        openers=("Guten Tag,", "Dear Sir or Madam,", "Moin,", "Hello,", "Servus,"),
        closers=(
            "Kind regards from {place}",
            "Many thanks in advance.",
            "Please confirm in writing.",
            "I await your reply by {when}.",
            "Mit freundlichen Grüßen",
        ),
        words={
            "card": ("girocard", "EC card", "debit card", "credit card"),
            "app": ("online banking", "TAN app", "banking app", "photoTAN app"),
            "shop": ("bakery", "Späti", "Baumarkt", "petrol station", "drugstore", "Biergarten"),
            "place": ("Berlin", "Leipzig", "Hamburg", "Kreuzberg", "Stuttgart", "Rostock"),
            "amount": ("20 euros", "49,90 €", "1.250 EUR", "300 euros", "EUR 75", "8,50 €"),
            "rail": ("SEPA transfer", "Überweisung", "instant transfer", "standing order"),
            "person": ("my landlord", "the Finanzamt", "Frau Schulz", "my brother", "the Verein"),
            "when": ("on Monday", "last Freitag", "in Oktober", "yesterday", "since Christmas"),
            "document": ("Personalausweis", "Meldebescheinigung", "ID card", "form"),
        },
    ),
    Locale(
        id="credit-garonne",
        name="Crédit Garonne",
        jurisdiction="FR",
        rows=1000,
        mix=_FR_MIX,
        openers=("Bonjour,", "Bonsoir,", "Madame, Monsieur,", "Hello,", "Good day,"),
        closers=(
            "Merci d'avance.",
            "Cordialement",
            "I thank you in advance.",
            "It is rather urgent, s'il vous plaît.",
            "Best wishes from {place}",
        ),
        words={
            "card": ("carte bleue", "CB", "bank card", "Visa card"),
            "app": ("espace client", "mobile app", "website", "application"),
            "shop": ("boulangerie", "tabac", "marché", "péage", "brasserie", "pharmacie"),
            "place": ("Lyon", "Toulouse", "Bordeaux", "Marseille", "Nantes", "Lille"),
            "amount": ("35 euros", "12,80 €", "640 EUR", "150 euros", "2 000 €", "90 €"),
            "rail": ("virement", "SEPA transfer", "virement instantané", "bank transfer"),
            "person": ("my propriétaire", "Madame Petit", "my son", "the notaire", "a friend"),
            "when": ("lundi", "last week", "in août", "the 14th of juillet", "yesterday evening"),
            "document": ("RIB", "carte d'identité", "justificatif de domicile", "form"),
        },
    ),
    Locale(
        id="banco-ipe",
        name="Banco Ipê",
        jurisdiction="BR",
        rows=1300,
        mix=_BR_MIX,
        openers=("Oi,", "Bom dia,", "Boa tarde,", "Hi guys,", "Hey, tudo bem?"),
        closers=(
            "Obrigado!",
            "Obrigada, a hug from {place}",
            "Can you help me, please?",
            "Thanks, people.",
            "Please answer me on the chat.",
        ),
        words={
            "card": ("cartão", "debit card", "credit card", "virtual card"),
            "app": ("app", "celular app", "internet banking", "token app"),
            "shop": ("padaria", "mercado", "farmácia", "lotérica", "posto", "churrascaria"),
            "place": ("Recife", "São Paulo", "Belo Horizonte", "Manaus", "Salvador", "Curitiba"),
            "amount": ("R$ 50", "R$ 1.200", "200 reais", "R$ 89,90", "15 reais", "R$ 3.500"),
            "rail": ("Pix", "TED", "boleto payment", "Pix transfer"),
            "person": ("my mãe", "Seu João", "Dona Lúcia", "my cousin", "the dentist"),
            "when": ("segunda-feira", "in carnaval week", "in março", "ontem", "last night"),
            "document": ("CPF", "RG", "comprovante", "proof of address"),
        },
    ),
    Locale(
        id="ziwa-sacco",
        name="Ziwa Sacco",
        jurisdiction="KE",
        rows=900,
        mix=_KE_MIX,
        openers=("Habari,", "Jambo,", "Hello team,", "Sasa,", "Good morning customer care,"),
        closers=(
            "Asante sana.",
            "Kindly assist.",
            "Please sort me out, asanteni.",
            "Kindly revert as soon as possible.",
            "Am in {place} by the way.",
        ),
        words={
            "card": ("ATM card", "debit card", "sacco card", "prepaid card"),
            "app": ("USSD menu", "mobile app", "M-banking", "sacco app"),
            "shop": ("duka", "supermarket", "agrovet", "petrol station", "butchery", "kiosk"),
            "place": ("Kisumu", "Nairobi", "Eldoret", "Mombasa", "Nakuru", "Kakamega"),
            "amount": ("KSh 500", "2,000 bob", "KES 15,000", "800 shillings", "50k", "KSh 120"),
            "rail": ("M-Pesa transfer", "paybill payment", "till payment", "PesaLink"),
            "person": ("my mum", "the chama", "Mama Akinyi", "the fundi", "my brother Otieno"),
            "when": ("jana", "on Jumatatu", "in Machi", "over the weekend", "since yesterday"),
            "document": ("national ID", "KRA PIN", "payslip", "form"),
        },
    ),
    Locale(
        id="neem-bank",
        name="Neem Bank",
        jurisdiction="IN",
        rows=1100,
        mix=_IN_MIX,
        openers=("Namaste,", "Dear Sir,", "Respected Madam,", "Hello sir ji,", "Vanakkam,"),
        closers=(
            "Kindly do the needful.",
            "Please revert at the earliest.",
            "Thanking you, from {place}",
            "Dhanyavaad.",
            "Kindly look into the matter.",
        ),
        words={
            "card": ("RuPay card", "ATM card", "debit card", "credit card"),
            "app": ("netbanking", "UPI app", "mobile banking", "app"),
            "shop": ("kirana shop", "medical store", "petrol bunk", "sweet shop", "mall", "dhaba"),
            "place": ("Pune", "Chennai", "Lucknow", "Kochi", "Indore", "Guwahati"),
            "amount": ("Rs 500", "Rs. 12,000", "2 lakh rupees", "Rs 249", "1,500 rupees", "Rs 80"),
            "rail": ("UPI payment", "NEFT", "IMPS transfer", "RTGS"),
            "person": ("my uncle", "Sharma ji", "the school", "my flatmate", "Lakshmi madam"),
            "when": ("on Somvar", "before Diwali", "in March", "day before yesterday", "last week"),
            "document": ("Aadhaar", "PAN card", "passbook", "KYC form"),
        },
    ),
)
